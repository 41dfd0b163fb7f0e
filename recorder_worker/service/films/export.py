"""Makes a film of a verified recording: the film, its account, and the clip that proves it.

Everything is written under spare names. The film gets its name last, so that one that is there has
its account, and its proof, beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Protocol

import msgspec

from recorder_worker.adapters.film.packet_copier import copy_form_of
from recorder_worker.adapters.film.painter import Painter
from recorder_worker.adapters.film.writer import LIBRARIES, FilmForm, FilmWriter, form_of
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.new_file import NewFile
from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import ImmutableConflictError, RefusedError, StoreError
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.frames.header import MAX_PIXELS
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.screening.account import (
    UNCHANGED,
    FilmAccount,
    FilmFile,
    FilmOptions,
    Making,
    account_json,
    account_of,
)
from recorder_worker.core.screening.exposures import SECOND_NS, Exposure, Exposures
from recorder_worker.core.screening.extent import Extent, extent_of
from recorder_worker.core.screening.scenes import Card, CardKind, Scene, scenes
from recorder_worker.core.screening.survey import Survey, survey
from recorder_worker.core.verify.report import Report
from recorder_worker.service.films.files import (
    digests_of,
    plan_of_part,
    write_account,
    write_proof,
)
from recorder_worker.service.software import SOFTWARE

DEFAULT_SIZE = (1280, 720)
"""Of a film that has cards alone."""
DEFAULT_RATE = 10.0
LONGEST_STILL_NS = SECOND_NS
"""A picture that stays is written again after so long, so that players have something to seek."""


class Tell(Protocol):
    """Is told how far the work is, in nanoseconds of session time."""

    def __call__(self, what: str, done_ns: int, total_ns: int) -> None:
        """`what` is `looking` or `writing`."""
        ...


class FilmRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for.

    Attributes:
        target: the film's file; its name says the form.
        window: the part; None: all of it.
        options: how.
        damaged_too: chunks that are damaged become cards; else they are an error.
        proof: write the clip of the part beside the film, where there is a part.
        replace: what is there under the names may be replaced.
        packets: the recording is one of copied packets.
    """

    target: Path
    window: Window | None
    options: FilmOptions
    damaged_too: bool = False
    proof: bool = True
    replace: bool = False
    packets: bool = False

    @property
    def account_file(self) -> Path:
        """Where the account stands."""
        return self.target.with_name(self.target.name + ".json")

    @property
    def clip_folder(self) -> Path:
        """Where the clip stands."""
        return self.target.with_name(self.target.name + ".clip")


def check_request(request: FilmRequest) -> None:
    """Whether the names are free and of a form that can be written.

    Raises:
        RefusedError: the name says no form.
        ImmutableConflictError: a name is taken.
        StoreError: there is no such folder.
    """
    if request.packets:
        copy_form_of(request.target)
    else:
        form_of(request.target)
    if not request.target.parent.is_dir():
        raise StoreError(f"{request.target}: expected a folder to write to, found none")
    for path in (request.target, request.account_file):
        NewFile(path, replace=request.replace)
    folder = request.clip_folder
    ours = request.replace and (folder / keys.CLIP).is_file()
    if folder.exists() and not ours:
        raise ImmutableConflictError(
            f"{folder}: expected nothing there, found something; name another film"
            + ("" if request.replace else ", or let --force replace a clip")
        )


def export_film(
    recording: FolderRecording,
    report: Report,
    request: FilmRequest,
    cipher: SessionCipher | None,
    tell: Tell,
) -> FilmAccount:
    """Make the film, and what stands beside it; nothing is there where this raises.

    Raises:
        RefusedError: the part is not in the recording, or cannot be encoded.
        BlobDamagedError: a chunk is not the one that was recorded.
        RecorderError: the recording cannot be read, or a file not be written.
    """
    check_request(request)
    extent = extent_of(lambda: recording_records(recording), request.window)
    plan = plan_of_part(recording, request.window) if request.window and request.proof else None
    form = form_of(request.target)
    length_ns = extent.end_ns - extent.begin_ns

    def looked(t_ns: int) -> None:
        tell("looking", min(t_ns - extent.begin_ns, length_ns), length_ns)

    found = survey(recording, extent, cipher, looked, damaged_too=request.damaged_too)
    with ExitStack() as stack:
        film = stack.enter_context(NewFile(request.target, replace=request.replace))
        note = stack.enter_context(NewFile(request.account_file, replace=request.replace))
        shown = chain(
            _warning(report, extent),
            scenes(recording, extent, cipher, damaged_too=request.damaged_too),
        )
        filming = _Filming(request, form, extent, found, tell)
        written = filming.write(film.spare, shown)
        if request.replace:
            shutil.rmtree(request.clip_folder, ignore_errors=True)
        proof = (
            write_proof(recording, request.clip_folder, plan)
            if plan and not found.damaged_count
            else None
        )
        made = Making(
            film=written,
            options=request.options,
            proof=proof,
            damaged=found.damaged,
            damaged_count=found.damaged_count,
            parts=tuple(filming.exposures.parts),
            part_count=filming.exposures.part_count,
            software=SOFTWARE,
            libraries=LIBRARIES,
        )
        account = account_of(report, extent, made, request.window)
        write_account(note.spare, account_json(account))
        note.publish()
        film.publish()
    return account


class _Filming:
    """Writes one film's pictures."""

    def __init__(
        self, request: FilmRequest, form: FilmForm, extent: Extent, found: Survey, tell: Tell
    ) -> None:
        self._request = request
        self._form = form
        self._extent = extent
        self._tell = tell
        self._size = _film_size(found, form)
        self.exposures: Exposures

    def write(self, path: Path, shown: Iterable[Scene]) -> FilmFile:
        """Write the film; what it turned out to be."""
        options = self._request.options
        self.exposures = Exposures(
            shown, self._extent.end_ns, fps=options.fps, ticking=options.burn_time
        )
        painter = Painter(*self._size, cursor=options.cursor, burn_time=options.burn_time)
        rate = options.fps or self._extent.frame_rate or DEFAULT_RATE
        with FilmWriter(path, self._form, self._size, rate) as writer:
            written_ns = -LONGEST_STILL_NS
            for exposure in self.exposures:
                picture = painter.paint(exposure)
                still = not painter.changed and exposure.film_ns - written_ns < LONGEST_STILL_NS
                if exposure.visible and not (still and self._may_stay):
                    writer.put(picture, exposure.film_ns)
                    written_ns = exposure.film_ns
                self._told(exposure)
            writer.finish(self.exposures.film_ns)
        return self._file(path, writer.frame_count)

    @property
    def _may_stay(self) -> bool:
        """Whether a frame that changes nothing may be left out: none of a lossless film is."""
        options = self._request.options
        return not (self._form.lossless or options.fps or options.burn_time)

    def _told(self, exposure: Exposure) -> None:
        begin_ns, length_ns = self._extent.begin_ns, self._extent.end_ns - self._extent.begin_ns
        self._tell("writing", min(max(0, exposure.t_ns - begin_ns), length_ns), length_ns)

    def _file(self, path: Path, frame_count: int) -> FilmFile:
        size, first, second = digests_of(path)
        return FilmFile(
            name=self._request.target.name,
            size_bytes=size,
            blake3=first,
            sha256=second,
            codec=self._form.description,
            lossless=self._form.lossless,
            width=self._size[0],
            height=self._size[1],
            duration_ns=self.exposures.film_ns,
            frame_count=frame_count,
        )


def _film_size(found: Survey, form: FilmForm) -> tuple[int, int]:
    """Width and height that hold every picture. Raises RefusedError."""
    width, height = (found.width, found.height) if found.width else DEFAULT_SIZE
    if width * height > MAX_PIXELS:  # of pictures of which each is small enough
        raise RefusedError(
            field="OUT",
            expected=f"a film of at most {MAX_PIXELS} pixels",
            got=f"{width}x{height}, which holds {found.size_count} sizes of pictures",
            hint="export a part in which the sizes are alike: --from, --to",
        )
    return (width + width % 2, height + height % 2) if form.even else (width, height)


def _warning(report: Report, extent: Extent) -> Iterator[Scene]:
    """A card in front of a film of a recording that is not what was signed."""
    failed = next((step for step in report.steps if step.number == report.failed_step), None)
    if report.verdict in UNCHANGED:
        return
    yield Card(
        kind=CardKind.NOT_VERIFIED,
        t0_ns=extent.begin_ns,
        t1_ns=extent.begin_ns,
        wall0_ns=extent.wall0_ns,
        wall1_ns=extent.wall0_ns,
        reason=f"recorder verify: {report.verdict.value}",
        detail=f"Step {failed.number}: {failed.title}: {failed.detail}" if failed else "",
    )
