"""The device's private keys in files: PEM (PKCS #8), one for each kind, for their owner alone.

```
device.pem                 Ed25519
device-ml-dsa-44.pem       ML-DSA-44, where that is on
rotations/<n>              statements of rotation, from 1 on
```

A rotation is these steps, and what a crash behind each leaves:

1. the new keys are stored beside the old ones, as `<name>.next`: files of no effect, which the next
   rotation erases;
2. the statement is stored: the rotation has happened, and whoever reads the keys next finishes it;
3. each new key takes the place of the old one, which is erased: as behind 2.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from recorder_worker.adapters.device_key import secret_file
from recorder_worker.adapters.device_key.private_keys import (
    Kinds,
    PrivateKey,
    PrivateKeys,
    generate,
    kinds,
    pem,
    public_key,
    read_pem,
)
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.signing.rotation import Rotation, parse_rotation
from recorder_worker.core.signing.signing_keys import KeyKind

State = Callable[[PrivateKeys, PrivateKeys], bytes]
"""Makes the signed statement of a rotation from the old keys to the new ones."""


class DeviceKeyFiles:
    """The files of the device's keys.

    Args:
        path: of the Ed25519 key; that of the ML-DSA-44 key stands beside it.
        folder: where statements of rotation are kept.
        ml_dsa_44: whether there is an ML-DSA-44 key.

    Every method raises SettingsError where a file is open to others or is not such a key, and
    StoreError where one cannot be read or made.
    """

    def __init__(self, path: Path, folder: Path, *, ml_dsa_44: bool = False) -> None:
        self.path = path
        self.paths = {
            KeyKind.ED25519: path,
            KeyKind.ML_DSA_44: path.with_name(f"{path.stem}-ml-dsa-44{path.suffix}"),
        }
        self.kinds: Kinds = kinds(ml_dsa_44=ml_dsa_44)
        self._statements = folder / "rotations"

    def load(self) -> PrivateKeys | None:
        """The keys that are there; None where there is no Ed25519 key."""
        with self._errors(), secret_file.locked(self.path.parent):
            self._finish()
            return self._load()

    def load_or_make(self) -> PrivateKeys:
        """The keys, made where they are missing; whoever races for them gets the same."""
        with self._errors():
            secret_file.make_folder(self.path.parent)
            with secret_file.locked(self.path.parent):
                self._finish()
                for kind in self.kinds:
                    secret_file.put_if_absent(self.paths[kind], partial(_fresh, kind))
                return self._set({kind: self._read(kind) for kind in self.kinds})

    def missing(self) -> list[Path]:
        """The files that `load_or_make` would make."""
        return [self.paths[kind] for kind in self.kinds if not self.paths[kind].exists()]

    def rotate(self, state: State) -> Path:
        """New keys in the place of the old ones, which are erased; gives the statement's file.

        Raises:
            SettingsError: there are no keys to replace.
        """
        with self._errors(), secret_file.locked(self.path.parent):
            self._finish()
            old = self._load()
            if old is None:
                raise SettingsError(
                    f"device key {self.path}: expected a key to replace, found none; "
                    "run recorder keys init"
                )
            new = PrivateKeys.generate(self.kinds)
            for kind in KeyKind:
                secret_file.erase(self._next(kind))
            for kind in self.kinds:
                secret_file.put_if_absent(self._next(kind), partial(new.pem, kind))
            place = self._statements / str(1 + max(self._numbers(), default=0))
            secret_file.put_if_absent(place, lambda: state(old, new))
            self._finish()
        return place

    def statements(self) -> list[bytes]:
        """The statements of all rotations, the oldest first."""
        with self._errors():
            found = [secret_file.read(self._statements / str(n)) for n in sorted(self._numbers())]
        return [statement for statement in found if statement is not None]

    def _finish(self) -> None:
        waiting = [kind for kind in KeyKind if self._next(kind).exists()]
        numbers = self._numbers()
        if not waiting or not numbers:
            return
        statement = secret_file.read(self._statements / str(max(numbers)))
        rotation = parse_rotation(statement or b"").rotation
        if any(not self._follows(kind, rotation) for kind in waiting):
            return
        for kind in set(KeyKind) - {key.kind for key in rotation.new}:
            secret_file.erase(self.paths[kind])
        for kind in waiting:
            secret_file.replace(self.paths[kind], by=self._next(kind))
            secret_file.erase(self._next(kind))

    def _follows(self, kind: KeyKind, rotation: Rotation) -> bool:
        key = self._read(kind, self._next(kind))
        return key is not None and public_key(kind, key) in rotation.new

    def _load(self) -> PrivateKeys | None:
        found = {kind: self._read(kind) for kind in self.kinds}
        return None if found[KeyKind.ED25519] is None else self._set(found)

    def _set(self, found: dict[KeyKind, PrivateKey | None]) -> PrivateKeys:
        ed25519, ml_dsa_44 = found[KeyKind.ED25519], found.get(KeyKind.ML_DSA_44)
        if not isinstance(ed25519, Ed25519PrivateKey):
            raise SettingsError(f"device key {self.path}: expected a key, found none")
        return PrivateKeys(ed25519, ml_dsa_44 if isinstance(ml_dsa_44, MLDSA44PrivateKey) else None)

    def _read(self, kind: KeyKind, path: Path | None = None) -> PrivateKey | None:
        path = path or self.paths[kind]
        data = secret_file.read(path)
        if data is None:
            return None
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise SettingsError(
                f"device key {path}: expected a file for its owner alone (0600), found {mode:04o}; "
                f"run chmod 600 {path}, and think about who may have copied it"
            )
        advice = "restore it, or move it away and a new one is made"
        return read_pem(kind, data, f"device key {path}", advice)

    def _next(self, kind: KeyKind) -> Path:
        return self.paths[kind].with_name(f"{self.paths[kind].name}.next")

    def _numbers(self) -> list[int]:
        if not self._statements.exists():
            return []
        return [int(each.name) for each in self._statements.iterdir() if each.name.isdecimal()]

    def _errors(self) -> secret_file.Errors:
        return secret_file.store_errors(f"device key {self.path} (keys.device_key)")


def _fresh(kind: KeyKind) -> bytes:
    return pem(generate(kind))
