"""Makes a film of a verified recording of packets: as they are, with its account and its proof.

As `export`, but for what cannot be had without encoding again: no card is drawn, and the film
begins and ends at keyframes. What is missing stays as time without pictures, and is in the account.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

from recorder_worker.adapters.film.packet_copier import PacketCopier, copy_form_of
from recorder_worker.adapters.film.packet_input import (
    TrackFacts,
    difference_of,
    facts_of,
    headed,
)
from recorder_worker.adapters.film.writer import LIBRARIES
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.new_file import NewFile
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.reading.checked_chunk import COPYABLE, checked_plain
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.screening.account import (
    FilmAccount,
    FilmFile,
    Making,
    account_json,
    account_of,
)
from recorder_worker.core.screening.exposures import MAX_PARTS, Part
from recorder_worker.core.screening.extent import extent_of
from recorder_worker.core.screening.reel import PICTURES, Reel, reel_of
from recorder_worker.core.screening.survey import MAX_DAMAGED
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.report import Report
from recorder_worker.service.films.export import FilmRequest, Tell, check_request
from recorder_worker.service.films.files import (
    digests_of,
    plan_of_part,
    write_account,
    write_proof,
)
from recorder_worker.service.software import SOFTWARE


def check_packet_request(request: FilmRequest) -> None:
    """As `check_request`; and whether packets alone can do what is asked for.

    Raises:
        RefusedError: a picture would have to be changed.
        RecorderError: as `check_request`.
    """
    options = request.options
    asked = {
        "--fps": options.fps is not None,
        "--burn-time": options.burn_time,
        "--cursor": options.cursor,
    }
    for field, wanted in asked.items():
        if wanted:
            raise RefusedError(
                field=field,
                expected="nothing that changes a picture, for this is a recording of packets "
                "(profile copy) and none of them is encoded again",
                got=field,
                hint="leave it out; ffmpeg makes another film of this one",
            )
    check_request(request)


def export_packets(
    recording: FolderRecording,
    report: Report,
    request: FilmRequest,
    cipher: SessionCipher | None,
    tell: Tell,
) -> FilmAccount:
    """Make the film, and what stands beside it; nothing is there where this raises.

    Raises:
        RefusedError: the part is not in the recording, has no keyframe, or the codecs change in it;
            or the container cannot hold them.
        BlobDamagedError: a chunk is not the one that was recorded.
        RecorderError: the recording cannot be read, or a file not be written.
    """
    check_packet_request(request)
    reel = _reel(recording, request, cipher, tell)
    extent = reel.extent
    window = Window(begin_ns=extent.begin_ns, end_ns=extent.end_ns)
    plan = plan_of_part(recording, window) if request.window and request.proof else None
    with ExitStack() as stack:
        film = stack.enter_context(NewFile(request.target, replace=request.replace))
        note = stack.enter_context(NewFile(request.account_file, replace=request.replace))
        facts = facts_of(reel.head)
        copier = PacketCopier(film.spare, copy_form_of(request.target), facts)
        with copier:
            parts = _copied(recording, reel, cipher, copier, tell)
            copier.finish()
        if request.replace:
            shutil.rmtree(request.clip_folder, ignore_errors=True)
        proof = (
            write_proof(recording, request.clip_folder, plan) if plan and not reel.damaged else None
        )
        made = Making(
            film=_file(film, facts, copier),
            options=request.options,
            proof=proof,
            damaged=reel.damaged[:MAX_DAMAGED],
            damaged_count=len(reel.damaged),
            parts=tuple(parts[:MAX_PARTS]),
            part_count=len(parts),
            sound_count=copier.sound_count,
            sound_left_out=copier.sound_left_out,
            software=SOFTWARE,
            libraries=LIBRARIES,
        )
        account = account_of(report, extent, made, request.window)
        write_account(note.spare, account_json(account))
        note.publish()
        film.publish()
    return account


def _reel(
    recording: FolderRecording, request: FilmRequest, cipher: SessionCipher | None, tell: Tell
) -> Reel:
    asked = extent_of(lambda: recording_records(recording), request.window)
    length_ns = asked.end_ns - asked.begin_ns

    def looked(t_ns: int) -> None:
        tell("looking", min(max(0, t_ns - asked.begin_ns), length_ns), length_ns)

    return reel_of(
        recording,
        asked,
        cipher,
        difference_of,
        looked,
        damaged_too=request.damaged_too,
        whole=request.window is None,
    )


def _chunks(recording: FolderRecording, reel: Reel) -> Iterator[tuple[ChunkRecord, range, range]]:
    """The chunks that are copied, which units they hold, and which of these are wanted."""
    for data in recording_records(recording):
        record = decode_record(data)
        if record.index > reel.extent.last_index:
            return
        if not isinstance(record, ChunkRecord) or record.index in reel.left_out:
            continue
        span = record.span
        units = range(span.first_unit, span.first_unit + span.unit_count)
        wanted = range(max(units.start, reel.first_unit), min(units.stop, reel.end_unit))
        if wanted:
            yield record, units, wanted


def _copied(
    recording: FolderRecording,
    reel: Reel,
    cipher: SessionCipher | None,
    copier: PacketCopier,
    tell: Tell,
) -> list[Part]:
    """Copy the chunks; where the parts of the session are in the film."""
    begin_ns, length_ns = reel.extent.begin_ns, reel.extent.end_ns - reel.extent.begin_ns
    times: dict[int, tuple[int, int]] = {}  # of the film, by the first unit of a part
    current = reel.first_unit
    begins = {part.first_unit for part in reel.parts if part.what == PICTURES}
    for record, units, wanted in _chunks(recording, reel):
        plain = checked_plain(recording, record, cipher, formats=COPYABLE)
        pieces = headed(reel.head, plain, keyframe=record.keyframe)
        film0_ns, film1_ns = copier.copy(pieces, chunk_name(record), units, wanted)
        current = wanted.start if wanted.start in begins else current
        times[current] = (times.get(current, (film0_ns, 0))[0], film1_ns)
        done_ns = min(max(0, record.span.t1_ns - begin_ns), length_ns)
        tell("writing", done_ns, length_ns)
    return _parts(reel, times)


def _parts(reel: Reel, times: dict[int, tuple[int, int]]) -> list[Part]:
    """The parts with their times in the film; what is missing fills the time between pictures."""
    limits = [max(end for _, end in times.values())]
    for part in reel.parts[::-1]:
        limits.append(times[part.first_unit][0] if part.what == PICTURES else limits[-1])
    made: list[Part] = []
    at_ns = 0
    for number, part in enumerate(reel.parts):
        limit_ns = limits[-2 - number]
        followed = [other.what for other in reel.parts[number + 1 : number + 2]]
        if part.what == PICTURES:
            begin_ns, end_ns = times[part.first_unit]
        else:
            begin_ns, end_ns = at_ns, limit_ns
            if followed not in ([], [PICTURES]):  # several are missing, one behind the other
                end_ns = min(limit_ns, at_ns + part.t1_ns - part.t0_ns)
        at_ns = end_ns
        made.append(
            Part(
                what=part.what,
                film0_ns=begin_ns,
                film1_ns=end_ns,
                t0_ns=part.t0_ns,
                t1_ns=part.t1_ns,
                reason=part.reason,
                detail=part.detail,
                lost_units=part.lost_units,
            )
        )
    return made


def _file(film: NewFile, facts: TrackFacts, copier: PacketCopier) -> FilmFile:
    size, first, second = digests_of(film.spare)
    codec = ", ".join(filter(None, (facts.video.split()[0], facts.sound)))
    return FilmFile(
        name=film.path.name,
        size_bytes=size,
        blake3=first,
        sha256=second,
        codec=f"{codec}, packets as recorded",
        lossless=True,
        width=facts.width,
        height=facts.height,
        duration_ns=copier.end_ns,
        frame_count=copier.picture_count,
    )
