"""The signer that the settings ask for."""

from __future__ import annotations

from contextlib import suppress

from recorder_worker.adapters.device_key import DeviceKeyFiles, FileSigner
from recorder_worker.adapters.device_key.signer import PEM_SETTING
from recorder_worker.core.errors import FormatError, SettingsError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.signing.rotation import Rotation, parse_rotation, verify_rotation
from recorder_worker.ports import BlobStore
from recorder_worker.service.settings.layers import variable_name
from recorder_worker.service.settings.tree import Settings
from recorder_worker.stages.retention.statement_reader import StatementReader, recorder_of

PEM_VARIABLE = variable_name(tuple(PEM_SETTING.split(".")))


def file_signer(settings: Settings) -> FileSigner:
    """The signer with keys in files, or with device keys from the environment.

    Raises:
        SettingsError: a key is open to others, or is none.
        StoreError: a file cannot be read or made.
    """
    return FileSigner(
        settings.device_key_path,
        folder=settings.keys_path,
        ml_dsa_44=settings.keys.ml_dsa_44,
        pem=settings.keys.device_key_pem,
    )


def device_key_files(settings: Settings) -> DeviceKeyFiles:
    """The files of the device's keys.

    Raises:
        SettingsError: the keys come from the environment; says what to do.
    """
    if settings.keys.device_key_pem:
        raise SettingsError(
            f"{PEM_SETTING}: expected device keys in files, found them in the environment, which "
            f"no program can change; put another key into {PEM_VARIABLE}, restart the workers, "
            "and give its public key to those who verify"
        )
    return DeviceKeyFiles(
        settings.device_key_path, settings.keys_path, ml_dsa_44=settings.keys.ml_dsa_44
    )


def statements_here(settings: Settings, store: BlobStore) -> StatementReader:
    """Reads what sealed sessions' own recorder says of them, where no key of the device is needed.

    Their OPEN names its key, and statements of rotation that are here tie later ones to it. One
    that is of neither says nothing.
    """

    def rotations() -> list[Rotation]:
        files = DeviceKeyFiles(settings.device_key_path, settings.keys_path)
        found = []
        for data in files.statements():
            with suppress(FormatError, ProofError):
                signed = parse_rotation(data)
                verify_rotation(signed)
                found.append(signed.rotation)
        return found

    return StatementReader(store, lambda session_id: recorder_of(store, session_id, rotations))
