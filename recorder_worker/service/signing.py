"""The signer that the settings ask for."""

from __future__ import annotations

from recorder_worker.adapters.device_key import DeviceKeyFiles, FileSigner
from recorder_worker.adapters.device_key.signer import PEM_SETTING
from recorder_worker.core.errors import SettingsError
from recorder_worker.service.settings.layers import variable_name
from recorder_worker.service.settings.tree import Settings

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
