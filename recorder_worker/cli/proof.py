"""`recorder proof` and `recorder verify-proof`: one leaf, or two checkpoints, in a small file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.evidence_files import read_policy, write_new
from recorder_worker.cli.output import JsonOption, fields, out, print_json
from recorder_worker.cli.report import TRUST
from recorder_worker.cli.verify import check_is_recording
from recorder_worker.core.errors import (
    RecorderError,
    SettingsError,
    UnsupportedError,
)
from recorder_worker.core.evidence.proof_check import (
    ContradictionError,
    ProofFound,
    check_chunk_file,
    check_proof,
)
from recorder_worker.core.evidence.proof_file import ProofFile, decode_proof, encode_proof
from recorder_worker.core.evidence.proof_making import prove_consistency, prove_leaf
from recorder_worker.core.printable import printable
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.report import TrustStatus
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED, Verdict

PIECE_SIZE = 1 << 20


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("proof")(proof)
    app.command("verify-proof")(verify_proof)


def proof(
    folder: Annotated[
        Path,
        typer.Argument(help="The recording's folder.", metavar="DIR", exists=True, file_okay=False),
    ],
    chunk: Annotated[
        int | None,
        typer.Option("--chunk", help="Prove this chunk, by the number in its file's name.", min=0),
    ] = None,
    leaf: Annotated[
        int | None, typer.Option("--leaf", help="Prove any record, by its index.", min=0)
    ] = None,
    between: Annotated[
        tuple[int, int] | None,
        typer.Option(
            "--between",
            help="Prove that the checkpoint of the second size only adds to that of the first.",
            metavar="M N",
        ),
    ] = None,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="A new file to write to; else stdout.", dir_okay=False),
    ] = None,
) -> None:
    """Write the proof of one chunk, of any record, or of two checkpoints.

    It is a JSON file that `recorder verify-proof` checks, or twenty lines of any language, with
    nothing but the public key of the device. It holds the record, its inclusion proof under the
    newest checkpoint, OPEN, and the chain of keys from OPEN to that checkpoint; no pixels.
    """
    check_is_recording(folder)
    made = _made(FolderRecording(folder), chunk, leaf, between)
    check_proof(made)  # a recording that is not whole gives no proof that is
    then = f"; check it: recorder verify-proof {out_file}"
    write_new(encode_proof(made), out_file, then)


def _made(
    recording: FolderRecording,
    chunk: int | None,
    leaf: int | None,
    between: tuple[int, int] | None,
) -> ProofFile:
    if sum(given is not None for given in (chunk, leaf, between)) != 1:
        raise typer.BadParameter(
            "expected one of --chunk, --leaf and --between, got none or several",
            param_hint="--chunk",
        )
    if between is not None:
        return prove_consistency(recording, *between)
    if chunk is not None:
        return prove_leaf(recording, chunk, chunk=True)
    assert leaf is not None  # noqa: S101  (counted above)
    return prove_leaf(recording, leaf)


def verify_proof(
    file: Annotated[
        Path,
        typer.Argument(help="What `recorder proof` wrote.", exists=True, dir_okay=False),
    ],
    chunk_file: Annotated[
        Path | None,
        typer.Option(
            "--chunk-file",
            help="The file of the chunk, to compare with its record.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option("--trust", help="Trust policy (trust.yaml).", exists=True, dir_okay=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a proof, offline, and say what it proves and what it does not.

    Exit codes: 0 it holds; 13 something in it does not hold; 14 the recorder's keys signed two
    histories; 15 it is of a version that this program does not know; 20 it holds, but `--trust`
    does not name the device's key; 2 wrong usage.
    """
    policy = read_policy(trust)
    data = _read(file, "FILE")
    try:
        found = check_proof(decode_proof(data))
        if chunk_file is not None:
            found = _with_file(found, chunk_file)
    except UnsupportedError as error:
        _failed(Verdict.UNSUPPORTED, error, as_json=json)
    except ContradictionError as error:
        _failed(Verdict.EQUIVOCATION, error, as_json=json)
    except RecorderError as error:
        _failed(Verdict.TAMPERED, error, as_json=json)
    name = None if policy is None else _name(policy, found)
    code = 0 if policy is None or name is not None else EXIT_UNTRUSTED
    if json:
        facts = {"holds": True, "exit_code": code, "trusted_as": name}
        print_json(facts | _plain(found))
    else:
        _print(found, _trust(policy, name))
    sys.exit(code)


def _name(policy: TrustPolicy, found: ProofFound) -> str | None:
    """What the policy calls the device; None where it does not trust what signed."""
    if policy.rules.require_ml_dsa_44 and not found.ml_dsa_44:
        return None
    return policy.name_of(found.device_keys)


def _trust(policy: TrustPolicy | None, name: str | None) -> str:
    if policy is None:
        return TRUST[TrustStatus.NO_POLICY]
    if name is None:
        return TRUST[TrustStatus.UNTRUSTED]
    return f"{TRUST[TrustStatus.TRUSTED]} {printable(name)}"


def _with_file(found: ProofFound, chunk_file: Path) -> ProofFound:
    with chunk_file.open("rb") as file:
        said = check_chunk_file(found.record, iter(lambda: file.read(PIECE_SIZE), b""))
    return msgspec.structs.replace(
        found,
        proved=(*found.proved, said),
        not_proved=tuple(text for text in found.not_proved if "give its file" not in text),
    )


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{what} {path}: expected a readable file, got {error}") from error


def _failed(verdict: Verdict, error: RecorderError, *, as_json: bool) -> NoReturn:
    if as_json:
        facts = {"holds": False, "exit_code": EXIT_CODES[verdict], "detail": printable(str(error))}
        print_json(facts)
    else:
        out.print(printable(str(error)), style="bold red", markup=False)
        out.print(f"\n{verdict.value}: the proof does not hold", markup=False)
    sys.exit(EXIT_CODES[verdict])


def _print(found: ProofFound, trusted: str) -> None:
    key = found.device_keys[0].data.hex()
    out.print(
        fields(
            session=found.session_id,
            recorder=printable(found.recorder),
            root_hash=found.root_hash,
            tree_size=found.tree_size,
            epoch=found.epoch,
            key=f"{key} ({trusted})",
        ),
        markup=False,
    )
    if found.record is not None:
        out.print(fields(**_leaf(found)), markup=False)
    for text in found.proved:
        out.print(f"proved: {text}", markup=False)
    for text in found.not_proved:
        out.print(f"not proved: {text}", style="yellow", markup=False)
    out.print("\nthe proof holds", style="bold green")


def _leaf(found: ProofFound) -> dict[str, str]:
    """The fields of the record, as text that is safe to print."""
    record = found.record
    assert record is not None  # noqa: S101  (asked before)
    return {
        name: printable(str(value))
        for name, value in _plain(record).items()
        if name not in {"salt", "session_id"}
    }


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    """A Struct as JSON holds it, with bytes in hexadecimal as they stand in a report."""
    found = msgspec.to_builtins(value, builtin_types=(bytes,))
    return {name: _hex(one) for name, one in found.items()}


def _hex(value: Any) -> Any:  # noqa: ANN401  (any JSON value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _hex(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_hex(one) for one in value]
    return value
