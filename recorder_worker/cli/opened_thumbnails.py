"""The thumbnails of an encrypted recording, opened."""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.output import err
from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.core.errors import RecorderError
from recorder_worker.core.verify.listing import is_thumbnail, thumbnail_unit
from recorder_worker.core.verify.reader import read_bounded

MAX_THUMBNAIL_SIZE = 1 << 20
"""Bytes; many times what one has."""


def opened_thumbnails(
    recording: FolderRecording, cipher: SessionCipher
) -> Iterator[tuple[int, bytes]]:
    """Each thumbnail's unit and JPEG, by ascending unit.

    They are no part of the record, so one that does not open is told on stderr and left out.
    """
    for name in sorted(filter(is_thumbnail, recording.names())):
        if not name.endswith(".enc"):
            continue
        unit = thumbnail_unit(name)
        try:
            stored = read_bounded(recording, name, MAX_THUMBNAIL_SIZE)
            data = b"".join(cipher.unseal(Place(PayloadKind.THUMBNAIL, unit), [stored]))
        except RecorderError as error:
            err.print(f"recorder: {name}: left out: {error}", markup=False)
            continue
        yield unit, data
