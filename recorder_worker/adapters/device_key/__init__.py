"""The keys of a device, and those that it makes for sessions, in files for their owner alone."""

from recorder_worker.adapters.device_key.device_files import DeviceKeyFiles
from recorder_worker.adapters.device_key.private_keys import PrivateKeys
from recorder_worker.adapters.device_key.signer import FileSigner

__all__ = ["DeviceKeyFiles", "FileSigner", "PrivateKeys"]
