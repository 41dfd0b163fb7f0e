"""Looks at sealed sessions: what the seal should have taken away, and keys that should be erased.

Nothing is taken away here that the seal would not have: and that only where the stream has the
fact of the seal, and the recording verifies as complete without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from recorder_worker.adapters.device_key import secret_file
from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.adapters.device_key.epoch_keys import EpochKeyFiles
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import SessionSealed
from recorder_worker.core.findings import Finding, Severity
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.doctor.case import YOUNG_S, Case
from recorder_worker.service.doctor.session_folder import SessionFolder
from recorder_worker.service.settings.tree import Settings
from recorder_worker.stages.merkle.archive import Archive

WHOLE = (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS, Verdict.REDACTED)


def look_at_sealed(
    settings: Settings, folder: SessionFolder, told: SessionSealed | None
) -> Iterator[Case]:
    """What is wrong with a sealed session; blocking.

    Args:
        settings: where keys and sessions are.
        folder: of the session.
        told: the fact of its seal, behind which the stages are done with it; None: the stream does
            not have it.
    """
    if folder.sealed_age_s < YOUNG_S:
        return
    if folder.segments or folder.journal:
        yield _leftovers(settings.data_path, folder, told)
    yield from _keys(settings.keys_path, folder.session_id, told=told is not None)


def _leftovers(root: Path, folder: SessionFolder, told: SessionSealed | None) -> Case:
    finding = Finding(
        check="session.leftovers",
        severity=Severity.WARNING,
        where=str(folder.path),
        what=f"{len(folder.segments)} segments and {folder.journal} single records or checkpoints "
        "in a sealed session, which needs neither",
        advice="they hold nothing that the record does not; where the recorder runs, it may still "
        "be at it",
        repair="verifies the recording, and removes them where it is complete" if told else "",
    )

    if told is None:
        return Case(finding=finding)

    async def remove() -> str:
        return await asyncio.to_thread(_remove, root, folder, told.root_hash)

    return Case(finding=finding, repair=remove)


def _remove(root: Path, folder: SessionFolder, root_hash: str) -> str:
    report = verify(FolderRecording(folder.path))
    if report.verdict not in WHOLE:
        raise RefusedError(
            field=str(folder.path),
            expected=" or ".join(verdict.value for verdict in WHOLE),
            got=report.verdict.value,
            hint="nothing was removed; run recorder verify on it",
        )
    if report.root_hash != root_hash:
        # Somebody else's recording, whole by itself: the single records may be all that is left.
        raise RefusedError(
            field=str(folder.path),
            expected=f"the recording of root {root_hash}, as session.sealed tells it",
            got=f"one of root {report.root_hash or 'none'}",
            hint="nothing was removed; copy the folder, and find out who wrote there",
        )
    Archive(DirectoryStore(root), folder.session_id).clear_journal()
    return f"verified as {report.verdict.value}, and removed"


def _keys(folder: Path, session_id: str, *, told: bool) -> Iterator[Case]:
    epochs, cipher = folder / "epochs" / session_id, folder / "ciphers" / f"{session_id}.key"
    for place in (epochs, cipher):
        if not place.exists():
            continue

        async def erase(place: Path = place) -> str:
            def erased() -> str:
                if place == cipher:
                    CipherKeyFiles(place.parent).erase(session_id)
                else:
                    EpochKeyFiles(place.parent, ()).close_session(session_id)
                return "overwritten and removed"

            return await asyncio.to_thread(erased)

        yield Case(
            finding=Finding(
                check="keys.not_erased",
                severity=Severity.ERROR,
                where=str(place),
                what="expected the keys of a sealed session to be erased, found them",
                advice="whoever gets them could sign, or read, in its name; a worker of merkle "
                "erases them with the next message of the session",
                repair="erases them" if told else "",
            ),
            repair=erase if told else None,
        )


def look_at_epochs(settings: Settings, session_id: str) -> Iterator[Case]:
    """Keys of ended epochs of a session that runs; blocking. Raises OSError."""
    folder = settings.keys_path / "epochs" / session_id
    for mark in sorted(folder.glob("*.erased")):
        key = mark.with_suffix(".key")
        if not key.exists() or secret_file.age_s(mark) < YOUNG_S:
            continue

        async def erase(epoch: int = int(mark.stem)) -> str:
            files = EpochKeyFiles(folder.parent, ())
            await asyncio.to_thread(files.close, session_id, epoch)
            return "overwritten and removed"

        yield Case(
            finding=Finding(
                check="keys.not_erased",
                severity=Severity.ERROR,
                where=str(key),
                what=f"the keys of epoch {mark.stem} have signed their last checkpoint, and are "
                "still there",
                advice="whoever gets them could sign into a past that has ended",
                repair="erases them",
            ),
            repair=erase,
        )
