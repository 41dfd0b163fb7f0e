"""A proof has one encoding, and everything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recording_files import FilesReader
from recordings import Recording

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.evidence import proof_file
from recorder_worker.core.evidence.proof_file import (
    ConsistencyFile,
    InclusionFile,
    decode_proof,
    encode_proof,
    record_bytes,
)
from recorder_worker.core.evidence.proof_making import prove_consistency, prove_leaf


def recording() -> FilesReader:
    made = Recording(checkpoint_every=1).open().chunk().epoch().chunk().seal()
    return FilesReader(made.sealed())


INCLUSION = encode_proof(prove_leaf(recording(), 3, chunk=True))
CONSISTENCY = encode_proof(prove_consistency(recording(), 2, 5))
both = pytest.mark.parametrize("data", [INCLUSION, CONSISTENCY], ids=["inclusion", "consistency"])


@both
def test_what_is_written_is_read(data: bytes) -> None:
    assert encode_proof(decode_proof(data)) == data
    assert data.endswith(b"\n}\n")


def test_any_json_reader_understands_it() -> None:
    found = json.loads(INCLUSION)
    assert list(found) == [
        *("format", "tree_hash", "session_id", "tree_size", "root_hash", "checkpoint"),
        *("leaf", "open", "epochs"),
    ]
    assert found["format"] == "session-recorder inclusion proof v1"
    assert found["checkpoint"].encode() == recording().files["seal"]
    assert found["leaf"]["index"] == 3
    assert isinstance(decode_proof(INCLUSION), InclusionFile)
    assert isinstance(decode_proof(CONSISTENCY), ConsistencyFile)


def rewritten(data: bytes, change: Any) -> bytes:  # noqa: ANN401  (any JSON value)
    found = json.loads(data)
    change(found)
    return (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode()


def test_the_encoding_is_that_of_pythons_own_json() -> None:
    """So that the tests below change one thing only."""
    for data in (INCLUSION, CONSISTENCY):
        assert rewritten(data, lambda _: None) == data


@both
def test_the_same_values_written_otherwise_are_refused(data: bytes) -> None:
    found = json.loads(data)
    others = [
        data[:-1],
        data + b"\n",
        b" " + data,
        json.dumps(found).encode(),
        json.dumps(found, indent=2).encode() + b"\n",
        json.dumps(dict(reversed(found.items())), indent=2, ensure_ascii=False).encode() + b"\n",
        data.replace(b'"tree_size": 5', b'"tree_size": 5.0'),
        data.replace(b'"tree_size": 5', b'"tree_size": 5,\n  "tree_size": 5'),
        data.replace(b"\n", b"\r\n"),
        data.replace("—".encode(), b"\\u2014"),
    ]
    for other in others:
        with pytest.raises(FormatError, match=r"one encoding|expected what"):
            decode_proof(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.update(extra=1),
        lambda p: p["leaf"].update(extra=1),
        lambda p: p.pop("open"),
        lambda p: p["leaf"].pop("hashes"),
        lambda p: p.update(tree_size=-1),
        lambda p: p.update(tree_size=2**63),
        lambda p: p.update(tree_size="5"),
        lambda p: p.update(tree_hash="sha256"),
        lambda p: p.update(root_hash=p["root_hash"].upper()),
        lambda p: p["leaf"]["hashes"].append("00" * 31),
        lambda p: p["leaf"]["hashes"].append("0g" * 32),
        lambda p: p["leaf"]["hashes"].extend(["00" * 32] * 64),
        lambda p: p["epochs"][0].pop("closing_checkpoint"),
        lambda p: p.update(checkpoint=None),
    ],
)
def test_other_fields_and_values_are_refused(change: Any) -> None:  # noqa: ANN401  (any JSON value)
    with pytest.raises(FormatError, match="expected what `recorder proof` wrote"):
        decode_proof(rewritten(INCLUSION, change))


def test_another_format_is_told_apart() -> None:
    for named in ("session-recorder inclusion proof v2", "", "x" * 1000):
        with pytest.raises(UnsupportedError, match="a newer verifier"):
            decode_proof(rewritten(INCLUSION, lambda p, named=named: p.update(format=named)))
    for data in (b"", b"{}", b"[]", b"null", b"\xff", b"{" * 100_000, b"[" * 100_000):
        with pytest.raises(FormatError, match="expected what"):
            decode_proof(data)


def test_a_proof_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_file, "MAX_PROOF_SIZE", len(INCLUSION) - 1)
    with pytest.raises(FormatError, match="at most"):
        decode_proof(INCLUSION)


@pytest.mark.parametrize("text", ["AB==", "A", "A===", "AA==\n", "AA=", "A-==", "AA==AA==", "é"])
def test_base64_is_canonical(text: str) -> None:
    with pytest.raises(FormatError, match="base64"):
        record_bytes(text)
    assert record_bytes("AA==") == b"\x00"
