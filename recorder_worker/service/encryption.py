"""Encryption as the settings ask for it: for whom, and where keys of running sessions are."""

from __future__ import annotations

from pathlib import Path

from recorder_worker.adapters.age import AgeRecipients
from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.core.errors import SettingsError
from recorder_worker.service.settings.tree import Settings

RECIPIENTS = "encryption.recipients"
RECIPIENTS_FILE = "encryption.recipients_file"


def cipher_keys(settings: Settings) -> CipherKeyFiles:
    """The keys of running sessions. Needed with encryption off too, for those that run with it."""
    return CipherKeyFiles(settings.keys_path / "ciphers")


def key_wrap(settings: Settings) -> AgeRecipients | None:
    """The recipients of new sessions; None where there are none, so encryption is off.

    Raises:
        SettingsError: one is no recipient, or the file cannot be read or names none.
    """
    named = settings.encryption
    if not named.recipients_file:
        return AgeRecipients(named.recipients, RECIPIENTS) if named.recipients else None
    place = Path(named.recipients_file)
    where = f"{RECIPIENTS_FILE} {place}"
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{where}: expected a readable file of recipients, one a line, got {error}"
        ) from error
    in_file = AgeRecipients(lines, where)
    if not named.recipients:
        return in_file
    settled = AgeRecipients(named.recipients, RECIPIENTS)
    return AgeRecipients((*settled.recipients, *in_file.recipients), RECIPIENTS)
