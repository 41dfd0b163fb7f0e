"""`recorder keys`: the device's keys. Private keys are never printed."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import typer

from recorder_worker.cli.output import JsonOption, fields, out, print_json
from recorder_worker.cli.settings_option import ConfigOption, load_settings
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.signing.note import NoteKey, SignatureType
from recorder_worker.core.signing.origins import check_recorder
from recorder_worker.core.signing.rotation import Rotation, sign_rotation
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey

if TYPE_CHECKING:
    from recorder_worker.adapters.device_key import PrivateKeys
    from recorder_worker.service.settings.tree import Settings

_LONG = {"ml_dsa_44", "trust", "statement"}
"""What stands in lines of its own where the output is text."""

keys = typer.Typer(
    no_args_is_help=True,
    help="The keys that this recorder signs with: make them, show their public halves, rotate "
    "them. Private keys are never printed.",
)


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(keys, name="keys")


@keys.command("init")
def init(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make the device's keys, and say what to give to those who verify.

    A worker makes them too, at its first start. Keys that are there are never overwritten: the
    exit code is 78 then.
    """
    from recorder_worker.service import signing  # noqa: PLC0415  (loads the settings)

    settings = load_settings(config)
    files = signing.device_key_files(settings)
    made = files.missing()
    if not made:
        raise SettingsError(
            f"device key {files.path}: expected none, found one, and it is left as it is; "
            "recorder keys show prints its public key, recorder keys rotate replaces it"
        )
    device = files.load_or_make().public()
    _recorder(settings, device, keep=True)
    _print(_described(settings, device), json, made=[str(path) for path in made])


@keys.command("show")
def show(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Print the public keys, as text, as a C2SP vkey, and as lines for a trust.yaml."""
    settings = load_settings(config)
    _print(_described(settings, _present(settings).public()), json)


@keys.command("rotate")
def rotate(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Put new device keys in the place of the old ones, which are erased.

    The old keys sign a statement that names the new ones; it is kept, and who trusts the old keys
    can add it to a trust.yaml. Running workers hold the old keys until they are restarted.
    """
    from recorder_worker.service import signing  # noqa: PLC0415  (loads the settings)

    settings = load_settings(config)
    files = signing.device_key_files(settings)
    at_s = int(time.time())

    def statement(old: PrivateKeys, new: PrivateKeys) -> bytes:
        rotation = Rotation(
            recorder=_recorder(settings, old.public(), keep=True),
            at_s=at_s,
            old=old.public(),
            new=new.public(),
        )
        return sign_rotation(rotation, old.sign)

    place = files.rotate(statement)
    described = _described(settings, _present(settings).public())
    text = place.read_text(encoding="ascii")
    _print(described | {"statement": text}, json, statement_in=str(place))
    if not json:
        out.print("\nfor a trust.yaml that has the old key:", markup=False)
        out.print(_indented(text), markup=False)
        out.print("\nRestart all workers now: until then they sign with the old key.", markup=False)


def _present(settings: Settings) -> PrivateKeys:
    from recorder_worker.adapters.device_key import private_keys  # noqa: PLC0415  (as above)
    from recorder_worker.service import signing  # noqa: PLC0415  (as above)

    if settings.keys.device_key_pem:
        kinds = private_keys.kinds(ml_dsa_44=settings.keys.ml_dsa_44)
        return private_keys.from_pem_text(settings.keys.device_key_pem, kinds, signing.PEM_VARIABLE)
    found = signing.device_key_files(settings).load()
    if found is None:
        raise SettingsError(
            f"device key {settings.device_key_path}: expected a key, found none; "
            "run recorder keys init"
        )
    return found


def _recorder(settings: Settings, device: tuple[PublicKey, ...], *, keep: bool) -> str:
    from recorder_worker.adapters.device_key.signer import (  # noqa: PLC0415  (as above)
        recorder_id,
    )

    made = recorder_id(settings.keys_path, device, keep=keep)
    return check_recorder(settings.merkle.recorder or made)


def _described(settings: Settings, device: tuple[PublicKey, ...]) -> dict[str, str]:
    """What may be known of the keys, by name."""
    recorder = _recorder(settings, device, keep=False)
    by_kind = {key.kind: key.data for key in device}
    origin = f"{recorder}/log"
    log = NoteKey(name=origin, public_key=by_kind[KeyKind.ED25519], type=SignatureType.ED25519)
    described = {
        "recorder": recorder,
        "private_key": (
            "in the environment" if settings.keys.device_key_pem else str(settings.device_key_path)
        ),
        "public_key": by_kind[KeyKind.ED25519].hex(),
    }
    if KeyKind.ML_DSA_44 in by_kind:
        described["ml_dsa_44"] = base64.b64encode(by_kind[KeyKind.ML_DSA_44]).decode()
    return described | {"vkey": log.vkey, "trust": _trust(recorder, described)}


def _trust(recorder: str, described: dict[str, str]) -> str:
    lines = ["keys:", f'  - name: "{recorder}"', f'    public_key: "{described["public_key"]}"']
    if "ml_dsa_44" in described:
        lines.append(f'    ml_dsa_44: "{described["ml_dsa_44"]}"')
    return "".join(f"{line}\n" for line in lines)


def _indented(statement: str) -> str:
    body = "".join(f"      {line}\n" if line else "\n" for line in statement.split("\n")[:-1])
    return f"rotations:\n  - |\n{body}".rstrip("\n")


def _print(described: dict[str, str], json: bool, **more: str | list[str]) -> None:
    if json:
        print_json(described | more)
        return
    shown = {name: value for name, value in described.items() if name not in _LONG}
    for name, value in more.items():
        shown[name] = value if isinstance(value, str) else ", ".join(value)
    out.print(fields(**shown), markup=False)
    out.print(f"\ntrust.yaml, for those who verify:\n{described['trust']}", markup=False, end="")
