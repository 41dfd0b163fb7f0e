"""What settings of the second store must be of each other."""

from __future__ import annotations

import re

from recorder_worker.service.settings.storage import StorageSettings

_NATS_BUCKET = re.compile(r"[A-Za-z0-9_-]+")
_S3_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

Finding = tuple[str, bool, str]
"""A key, whether it is wrong, and what was expected."""


def storage_rules(storage: StorageSettings) -> list[Finding]:
    """All of them, in the order of the keys."""
    s3, nats = storage.kind == "s3", storage.kind == "nats"
    return [
        (
            "storage.directory",
            bool(storage.directory) != (storage.kind == "directory"),
            "a path where storage.kind is directory, and else none",
        ),
        (
            "storage.bucket",
            s3 and not _S3_BUCKET.fullmatch(storage.bucket),
            "3 to 63 small letters, digits, dots and dashes, where storage.kind is s3",
        ),
        (
            "storage.bucket",
            nats and not _NATS_BUCKET.fullmatch(storage.bucket),
            "letters, digits, dashes and underscores, where storage.kind is nats",
        ),
        (
            "storage.endpoint",
            s3 != bool(storage.endpoint),
            "the URL of a server where storage.kind is s3, and else none",
        ),
        (
            "storage.access_key_id",
            s3 and not storage.access_key_id and not storage.credentials_file,
            "a key where storage.kind is s3, in RECORDER_STORAGE__ACCESS_KEY_ID, or a file of it",
        ),
        (
            "storage.secret_access_key",
            s3 and not storage.secret_access_key and not storage.credentials_file,
            "the secret of the key where storage.kind is s3",
        ),
        (
            "storage.credentials_file",
            bool(storage.credentials_file) and (not s3 or _has_login(storage)),
            "a path only where storage.kind is s3, and key, secret and session token are not set",
        ),
        (
            "storage.keep_local",
            storage.kind == "none" and storage.keep_local != "always",
            "always where storage.kind is none: nothing is elsewhere",
        ),
    ]


def _has_login(storage: StorageSettings) -> bool:
    return bool(storage.access_key_id or storage.secret_access_key or storage.session_token)
