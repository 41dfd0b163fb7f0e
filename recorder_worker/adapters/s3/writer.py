"""A blob being written to a bucket: one request, or parts that become an object at the end.

A crash before `commit` leaves nothing under the key. What it leaves of parts the server keeps,
unseen, until somebody aborts that upload: `S3Store.clear_leftovers` does, and `delete_below`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from recorder_worker.adapters.s3.faults import ABSENT, FAULTS, TAKEN, UNCONDITIONAL, code_of, fault
from recorder_worker.core.errors import BlobMissingError, StoreError


class S3Writer:
    """A `BlobWriter`. One thread uses it.

    Args:
        client: botocore's.
        at: bucket and name of the object.
        where: the same, for messages.
        part_bytes: how much is held in memory, and sent at once.
        held: called where the name is taken, with the SHA-256 of what was to be stored; raises
            ImmutableConflictError where other bytes are there.
    """

    def __init__(
        self,
        client: Any,  # noqa: ANN401  (botocore makes the class at run time)
        at: dict[str, Any],
        *,
        where: str,
        part_bytes: int,
        held: Callable[[str], None],
    ) -> None:
        self._client = client
        self._at = at
        self._where = where
        self._part_bytes = part_bytes
        self._held = held
        self._waiting = bytearray()
        self._sha256 = hashlib.sha256()
        self._upload_id = ""
        self._parts: list[dict[str, Any]] = []

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes; a part that is full is sent. Raises StoreError."""
        self._sha256.update(data)
        self._waiting += data
        while len(self._waiting) > self._part_bytes:
            part = bytes(self._waiting[: self._part_bytes])
            del self._waiting[: self._part_bytes]
            self._send(part)

    def commit(self) -> None:
        """Make the blob durable and visible. See `BlobWriter.commit`."""
        try:
            if self._upload_id:
                self._send(bytes(self._waiting))
                self._finish(self._complete)
            else:
                self._finish(self._put)
        finally:
            self._waiting.clear()
        self._upload_id = ""

    def abort(self) -> None:
        """Forget what was written; harmless after `commit`."""
        upload_id, self._upload_id = self._upload_id, ""
        self._waiting.clear()
        if upload_id:
            # Where the server is away, it is done a day later (`S3Store.clear_leftovers`).
            with suppress(*FAULTS, StoreError):
                self._client.abort_multipart_upload(**self._at, UploadId=upload_id)

    def _finish(self, send: Callable[..., None]) -> None:
        """Send what makes the object appear, if nothing is there yet."""
        try:
            send(IfNoneMatch="*")
        except FAULTS as error:
            if code_of(error) in UNCONDITIONAL:
                self._finish_unconditionally(send)
            elif code_of(error) in TAKEN:
                self._adopt(error)
            else:
                raise self._fault(error) from error

    def _finish_unconditionally(self, send: Callable[..., None]) -> None:
        try:
            self._client.head_object(**self._at)
        except FAULTS as error:
            if code_of(error) not in ABSENT:
                raise self._fault(error) from error
        else:
            self._adopt(None)
            return
        try:
            send()
        except FAULTS as error:
            raise self._fault(error) from error

    def _adopt(self, error: Exception | None) -> None:
        """The name is taken, perhaps by our own request, whose answer was lost."""
        try:
            self._held(self._sha256.hexdigest())
        except BlobMissingError as missing:  # it was deleted meanwhile: the next try may have it
            raise (missing if error is None else self._fault(error)) from error
        self.abort()

    def _put(self, **condition: str) -> None:
        self._client.put_object(
            **self._at,
            Body=bytes(self._waiting),
            ChecksumSHA256=base64.b64encode(self._sha256.digest()).decode(),
            **condition,
        )

    def _complete(self, **condition: str) -> None:
        self._client.complete_multipart_upload(
            **self._at,
            UploadId=self._upload_id,
            MultipartUpload={"Parts": self._parts},
            **condition,
        )

    def _send(self, part: bytes) -> None:
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        number = len(self._parts) + 1
        try:
            if not self._upload_id:
                begun = self._client.create_multipart_upload(**self._at, ChecksumAlgorithm="SHA256")
                self._upload_id = begun["UploadId"]
            sent = self._client.upload_part(
                **self._at,
                UploadId=self._upload_id,
                PartNumber=number,
                Body=part,
                ChecksumSHA256=digest,
            )
        except FAULTS as error:
            raise self._fault(error) from error
        checked = {"ChecksumSHA256": digest} if sent.get("ChecksumSHA256") else {}
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"], **checked})

    def _fault(self, error: Exception) -> StoreError:
        return fault(error, "store", self._where)
