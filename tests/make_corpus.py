"""Makes a corpus: what this version records, frozen, for every later version to read.

`python tests/make_corpus.py tests/corpus/v2` records into a new folder, with this version's code;
tests/integration/test_corpus.py reads every one there is. A corpus is made once, when what is
stored or published changes, and never again: it is read for ever.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import reference
import zstandard
from blake3 import blake3
from films import write_film
from full_session import messages
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from xclient import XClient
from xserver import XServer

from recorder_worker import __version__
from recorder_worker.adapters.age import new_identity
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.identities import cipher_of
from recorder_worker.core.frames.prediction import photo_like
from recorder_worker.core.reading.film import recording_film
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.settings.pictures import QualitySettings, ThumbnailSettings
from recorder_worker.service.settings.tree import (
    CaptureSettings,
    ChunkSettings,
    EncryptionSettings,
    Settings,
)

PHOTO = Path(__file__).parent / "vectors" / "pictures" / "chelsea.jpg"
ID = "00000000-0000-4000-8000-00000000000{}"
DESKTOP, FILM, JUDGED, SEALED = (ID.format(number) for number in range(1, 5))
PATTERN = {"kind": "pattern", "width": 320, "height": 240}
KEPT = ("sessions", "log", "audit")
KEYS = ("device.pem", "recorder")
"""Of nobody: they have signed this corpus, and sign nothing else."""


async def make(folder: Path) -> None:
    """Record, with two settings one behind the other, and keep what is to be kept."""
    work = Path(tempfile.mkdtemp())
    identity, recipient = new_identity()
    plain = msgspec.structs.replace(
        settings_in(work / "data"),
        node="corpus",
        capture=CaptureSettings(segment_s=0.5, checkpoint_s=2.0, epoch_s=3.0),
        chunk=ChunkSettings(duration_s=2.0),
        quality=QualitySettings(look_s=0.1, frozen_s=0.5, display_conditions=("frozen",)),
        thumbnails=ThumbnailSettings(interval_s=1.0),
    )
    sealed: Settings = msgspec.structs.replace(
        plain, encryption=EncryptionSettings(recipients=(recipient,))
    )
    async with RunningRecorder(plain) as recorder:
        await _desktop(recorder)
        film = write_film(work / "film.mp4", frames=20, group=5)
        source = {"kind": "file", "uri": str(film), "pace": "fast"}
        await recorder.record(source, session_id=FILM, profile="copy")
        await _judged(recorder)
        await recorder.nothing_is_left()
    async with RunningRecorder(sealed) as recorder:
        pattern = PATTERN | {"frames": 20, "pace": "fast"}
        await recorder.client.start(pattern, session_id=SEALED)
        await recorder.sealed(SEALED)
        await recorder.nothing_is_left()
        stored = await messages(recorder)
    folder.mkdir(parents=True)
    for name in KEPT:
        if (work / "data" / name).exists():
            shutil.copytree(work / "data" / name, folder / name)
    (folder / "keys").mkdir()
    for name in KEYS:
        shutil.copy(work / "data" / "keys" / name, folder / "keys" / name)
    (folder / "identity.txt").write_text(identity + "\n")
    lines = [json.dumps(_line(one), sort_keys=True) for one in stored]
    (folder / "messages.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "expected.json").write_text(json.dumps(expected(folder), indent=1) + "\n")
    shutil.rmtree(work)


def _line(message: Any) -> dict[str, Any]:  # noqa: ANN401  (a stored message)
    return {
        "stream": message.stream,
        "subject": message.subject,
        "headers": message.headers,
        "data": message.data.decode(),
    }


async def _desktop(recorder: RunningRecorder) -> None:
    """Scrolled text, a photo, a pointer, masks that change, a mark and a pause."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(XServer(256, 192))
        client = stack.enter_context(XClient(server.display))
        pointer = np.full((12, 8, 4), 255, np.uint8)
        client.set_pointer(pointer, 1, 2)
        photo = cv2.imread(str(PHOTO))
        assert photo is not None
        server.paint(np.dstack((photo[100:164, 200:328], np.zeros((64, 128), np.uint8))), 128, 0)
        window = client.window(0, 64, 256, 128, 0xFFFFFF)
        await recorder.client.start(
            {"kind": "x11", "uri": server.display},
            session_id=DESKTOP,
            fps=10,
            masks=[{"x": 0, "y": 0, "width": 64, "height": 16}],
            labels={"of": "the corpus"},
        )
        last = await recorder.captured(DESKTOP)
        for number in range(12):
            client.write(window, 8, 120, f"line {number} of what was typed")
            client.scroll(window, 256, 128, 16)
            client.warp(20 * number, 100)
            last = await recorder.captured(DESKTOP, last.cursor.t_ns)
            if number == 4:
                await recorder.client.mark(DESKTOP, "half of it", by="corpus")
                mask = [{"x": 0, "y": 0, "width": 64, "height": 32}]
                await recorder.client.mask(DESKTOP, mask, by="corpus")
                await recorder.client.pause(DESKTOP, by="corpus")
                await recorder.client.resume(DESKTOP, by="corpus")
                await recorder.captured(DESKTOP, last.cursor.t_ns)
        await recorder.client.stop(DESKTOP)
        await recorder.sealed(DESKTOP)
    tiles = [recorder.pictures(DESKTOP)[-1][:64, left : left + 64] for left in (0, 128)]
    assert photo_like(np.asarray(tiles).reshape(2, 64, 192)).tolist() == [False, True]


async def _judged(recorder: RunningRecorder) -> None:
    """Long enough for thumbnails, and for a picture that stands still to be told."""
    await recorder.client.start(PATTERN, session_id=JUDGED, fps=10)
    async with asyncio.timeout(DEADLINE_S):
        while not await recorder.facts(Fact.QUALITY, JUDGED):
            await asyncio.sleep(POLL_S)
    await recorder.client.stop(JUDGED)
    await recorder.sealed(JUDGED)


def expected(folder: Path) -> dict[str, Any]:
    """What the readers of this version say of it."""
    sessions = {}
    for path in sorted((folder / "sessions").iterdir()):
        recording = FolderRecording(path)
        cipher = cipher_of(recording, [folder / "identity.txt"])
        report = verify(recording, cipher=cipher)
        theirs = reference.check(path, folder / "identity.txt")
        assert (theirs["verdict"], theirs["root_hash"]) == (report.verdict.value, report.root_hash)
        copied = path.name == FILM
        sessions[path.name] = {
            "verdict": report.verdict.value,
            "root_hash": report.root_hash,
            "tree_size": report.tree_size,
            "gaps": [gap.reason for gap in report.gaps],
            "frames": [] if copied else frame_digests(path, folder / "identity.txt"),
            "film": film_digest(path) if copied else "",
        }
    return {
        "recorder": __version__,
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
        "sessions": sessions,
    }


def frame_digests(path: Path, identity: Path) -> list[str]:
    """The digest of every picture, as recorded."""

    recording = FolderRecording(path)
    found = recording_frames(recording, cipher_of(recording, [identity]))
    return [blake3(frame.picture.tobytes()).hexdigest() for frame in found]


def film_digest(path: Path) -> str:
    """The digest of all copied bytes, chunk behind chunk."""

    digest = blake3()
    for _, pieces in recording_film(FolderRecording(path)):
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    TARGET = Path(sys.argv[1])
    if TARGET.exists():
        sys.exit(f"{TARGET}: expected a new folder, found one; a corpus is made once")
    asyncio.run(make(TARGET))
    size = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    print(f"{TARGET}: {size} bytes")
