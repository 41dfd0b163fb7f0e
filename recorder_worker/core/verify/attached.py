"""Step 13: the files that stand beside the tree, and those that are no part of the record."""

from __future__ import annotations

from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.errors import RecorderError
from recorder_worker.core.records import ChunkRecord, MarkRecord, OpenRecord
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.material import Material
from recorder_worker.core.verify.report import printable
from recorder_worker.core.verify.steps import NotReachedError, tampered

MAX_NAMED = 20


def check_attached(material: Material) -> str:
    """The manifest and the bodies of marks have the digests that their records bind.

    Raises:
        StepFailedError: one has not, or is missing.
        NotReachedError: there is no OPEN record that binds a manifest.
    """
    if not material.records or not isinstance(material.records[0], OpenRecord):
        raise NotReachedError("there is no OPEN record that names the manifest's digest")
    _check_file(material, keys.MANIFEST, material.records[0].manifest_blake3, None)
    marks = 0
    for record in material.records:
        if isinstance(record, MarkRecord):
            _check_file(material, keys.mark(record.index), record.body_blake3, record.body_size)
            marks += 1
    return f"{keys.MANIFEST}, {marks} marks"


def _check_file(material: Material, name: str, digest: bytes, size: int | None) -> None:
    try:
        found = material.reader.size(name)
        if size is not None and found != size:
            raise tampered(f"{name}: expected {size} bytes, found {found}")
        hasher = blake3()
        for piece in material.reader.stream(name):
            hasher.update(piece)
    except RecorderError as error:
        raise tampered(f"{name}: {error}") from error
    if hasher.digest() != digest:
        raise tampered(f"{name}: expected BLAKE3 {digest.hex()}, found {hasher.hexdigest()}")


def strangers(material: Material) -> list[str]:
    """Warnings about files that no record speaks of.

    While a session is being recorded its spool, and chunks and bodies whose records are still to
    come, are no strangers.
    """
    expected = {keys.MANIFEST, keys.RECORDS, keys.CHECKPOINTS, keys.SEAL, *material.journal}
    for record in material.records:
        if isinstance(record, ChunkRecord):
            expected.add(chunk_name(record))
        elif isinstance(record, MarkRecord):
            expected.add(keys.mark(record.index))
    known = () if material.compact else (keys.SEGMENTS, keys.CHUNKS, keys.MARKS)
    found = sorted(
        name
        for name in material.names
        if name not in expected and name.partition("/")[0] not in known
    )
    warnings = [f"not part of the record: {printable(name)}" for name in found[:MAX_NAMED]]
    if len(found) > MAX_NAMED:
        warnings.append(f"not part of the record: {len(found) - MAX_NAMED} more files")
    return warnings
