"""`recorder decrypt`: the chunks of an encrypted recording as files that other tools read."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from blake3 import blake3
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.new_folder import NewFolder
from recorder_worker.cli.evidence_files import read_policy
from recorder_worker.cli.identities import IdentityOption, cipher_of, encryption_of
from recorder_worker.cli.opened_thumbnails import opened_thumbnails
from recorder_worker.cli.output import JsonOption, err, fields, out, print_json, size
from recorder_worker.cli.verify import RecordingArgument, check_is_recording, checked
from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import BlobDamagedError, RefusedError
from recorder_worker.core.reading.frames import chunk_payload, recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.verdicts import Verdict

GOOD = (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS, Verdict.TRUNCATED, Verdict.CLIP)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("decrypt")(decrypt)


def decrypt(
    folder: RecordingArgument,
    target: Annotated[
        Path, typer.Option("--out", help="The folder to make, new or empty.", metavar="OUT")
    ],
    identity: IdentityOption = None,
    trust: Annotated[
        Path | None,
        typer.Option("--trust", help="As for `verify`.", exists=True, dir_okay=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the chunks of an encrypted recording without their encryption.

    The recording is verified first, plain bytes included. OUT then holds `chunks/<index>.zst`,
    which `zstd -d` reads, or `.raw` where zstd could not shrink them; inside is what
    docs/format.md calls the frame stream. Thumbnails are `thumbnails/<unit>.jpg`. OUT is no
    recording: the records are of the encrypted bytes, and it proves nothing.

    Exit codes: 0 done; 13, 14, 15 the recording is not what was signed: nothing was written; 65
    it is not encrypted, or for none of the identities, or OUT is taken; 2 wrong usage.
    """
    check_is_recording(folder)
    if target.resolve().is_relative_to(folder.resolve()):
        raise typer.BadParameter(
            f"expected a folder outside of the recording, got {target}", param_hint="--out"
        )
    cipher = _cipher(folder, identity)
    report = checked(folder, read_policy(trust), cipher=cipher)
    if report.verdict not in GOOD:
        err.print(
            f"recorder: {folder}: expected an unchanged recording, found "
            f"{report.verdict.value}; nothing was written: see `recorder verify {folder} "
            "--identity …`",
            markup=False,
        )
        sys.exit(report.exit_code)
    made, thumbnails = _write(FolderRecording(folder), cipher, target)
    chunks = made.file_count - thumbnails
    found = {
        "folder": str(target),
        "chunks": chunks,
        "thumbnails": thumbnails,
        "size_bytes": made.size_bytes,
    }
    if json:
        print_json(found)
    else:
        holds = f"{chunks} chunks, {thumbnails} thumbnails, {size(made.size_bytes)}"
        out.print(fields(folder=target, holds=holds), markup=False)


def _cipher(folder: Path, identities: list[Path] | None) -> SessionCipher:
    recording = FolderRecording(folder)
    if encryption_of(recording) is None:
        raise RefusedError(
            field="DIR",
            expected="a recording that is encrypted",
            got=f"one of which {keys.MANIFEST} says that it is not",
            hint="its chunks/*.zst can be read as they are",
        )
    cipher = cipher_of(recording, identities)
    if cipher is None:
        raise typer.BadParameter(
            "expected the identity of a recipient, got none", param_hint="--identity"
        )
    return cipher


def _write(
    recording: FolderRecording, cipher: SessionCipher, target: Path
) -> tuple[NewFolder, int]:
    """Every chunk, in the order of the records; the folder appears when all are whole.

    How many thumbnails are beside them, too.
    """
    chunks = [r for data in recording_records(recording) if (r := _shown(recording, data))]
    total = sum(record.stored_size for record in chunks)
    with (
        Progress(
            TextColumn("decrypting"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        ) as bar,
        NewFolder(target) as made,
    ):
        task = bar.add_task("bytes", total=total)
        for record in chunks:
            name = keys.chunk(record.index, compressed=record.codec == "zstd")
            made.write(name, _payload(recording, record, cipher, (bar, task)))
        thumbnails = 0
        for unit, data in opened_thumbnails(recording, cipher):
            made.write(keys.thumbnail(unit), [data])
            thumbnails += 1
    return made, thumbnails


def _shown(recording: FolderRecording, data: bytes) -> ChunkRecord | None:
    """A chunk of which there is a file: that of the last record of a clip may be left out."""
    record = decode_record(data)
    if not isinstance(record, ChunkRecord):
        return None
    clip = (recording.folder / keys.CLIP).exists()
    return None if clip and not (recording.folder / chunk_name(record)).exists() else record


def _payload(
    recording: FolderRecording,
    record: ChunkRecord,
    cipher: SessionCipher,
    progress: tuple[Progress, TaskID],
) -> Iterator[bytes]:
    """A chunk's payload; its file may have changed since it was verified, so it is held again."""
    watched = _Watched(recording, progress)
    yield from chunk_payload(watched, record, cipher)
    if watched.digests() != (record.stored_blake3, record.stored_sha256):
        raise BlobDamagedError(
            f"{chunk_name(record)}: changed while it was decrypted; nothing was written"
        )


class _Watched(FolderRecording):
    """A recording whose bytes are digested, and shown, as they are read."""

    def __init__(self, recording: FolderRecording, progress: tuple[Progress, TaskID]) -> None:
        super().__init__(recording.folder)
        self._bar, self._task = progress
        self._hashers = (blake3(), hashlib.sha256())

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of a file."""
        for piece in super().stream(name):
            for hasher in self._hashers:
                hasher.update(piece)
            self._bar.update(self._task, advance=len(piece))
            yield piece

    def digests(self) -> tuple[bytes, bytes]:
        """BLAKE3 and SHA-256 of what was read."""
        first, second = self._hashers
        return first.digest(), second.digest()
