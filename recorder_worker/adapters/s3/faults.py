"""What botocore raises, as the store's errors: what was expected, what came, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from recorder_worker.core.errors import BlobMissingError, StoreError, StoreFullError

FAULTS = (BotoCoreError, ClientError)

ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
TAKEN = frozenset(
    {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchUpload", "412", "409"}
)
"""Something is there already; or an upload in parts has come to its end, and we heard nothing."""
BEHIND_END = frozenset({"InvalidRange", "416"})
UNCONDITIONAL = frozenset({"NotImplemented", "501"})
"""The server does not know `If-None-Match`."""

_FULL = frozenset(
    {
        "InsufficientCapacity",
        "QuotaExceeded",
        "XMinioStorageFull",
        "XMinioAdminBucketQuotaExceeded",
        "507",
    }
)
_NEW_LOGIN = "in storage.credentials_file, or anywhere else and restart"
_ADVICE = {
    "NoSuchBucket": "create it, or correct storage.bucket",
    "InvalidBucketName": "correct storage.bucket",
    "AccessDenied": "give this key the rights to get, put, delete and list in this bucket",
    "403": "check the key, and its rights to get, put, delete and list in this bucket",
    "InvalidAccessKeyId": f"correct the key, {_NEW_LOGIN}",
    "SignatureDoesNotMatch": f"correct the secret of the key, {_NEW_LOGIN}",
    "ExpiredToken": f"give new credentials, {_NEW_LOGIN}",
    "InvalidToken": f"correct the session token, {_NEW_LOGIN}",
    "TokenRefreshRequired": f"give new credentials, {_NEW_LOGIN}",
    "RequestExpired": "set this machine's clock, or give new credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "AuthorizationHeaderMalformed": "correct storage.region",
    "PermanentRedirect": "correct storage.region and storage.endpoint",
    "BadDigest": "what arrived is not what was sent: look at the network and this machine's memory",
    "SlowDown": "it asks us to slow down",
}


def code_of(error: Exception) -> str:
    """The server's own code, or the status; empty where the server has said nothing."""
    if not isinstance(error, ClientError):
        return ""
    response: dict[str, Any] = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    return code or str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


def fault(error: Exception, doing: str, where: str) -> StoreError:
    """The store's error for one of botocore's."""
    code = code_of(error)
    status = ""
    if isinstance(error, ClientError):
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    if code in _FULL or status in _FULL:
        return StoreFullError(f"cannot {doing} {where}: the store is full ({code}); make room")
    if not code:
        reason = " ".join(str(error).split())
        return StoreError(
            f"cannot {doing} {where}: expected an answer, found: {reason}; is it running, and is "
            "storage.endpoint right?"
        )
    text = " ".join(str(error.response["Error"].get("Message", "")).split())  # type: ignore[attr-defined]  # a ClientError, by its code
    advice = _ADVICE.get(code, "see the store's own log")
    return StoreError(f"cannot {doing} {where}: {code} {text}".rstrip(" .") + f"; {advice}")


@contextmanager
def explained(doing: str, where: str) -> Iterator[None]:
    """Raise the store's errors for botocore's; an absent key is an absent blob."""
    try:
        yield
    except FAULTS as error:
        if code_of(error) in ABSENT:
            raise BlobMissingError(
                f"{where}: expected a blob, found none; was the recording moved or deleted?"
            ) from error
        raise fault(error, doing, where) from error
