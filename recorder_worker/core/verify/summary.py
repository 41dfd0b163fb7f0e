"""Turns a judgement into the report."""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.core.model import ClockState
from recorder_worker.core.printable import printable
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.verify.judgement import Judgement
from recorder_worker.core.verify.receipts import Covers
from recorder_worker.core.verify.report import (
    MAX_MASKS,
    Recorded,
    Report,
    TrustStatus,
    WindowProved,
    exit_code,
)
from recorder_worker.core.verify.time_window import Bound, TimeWindow
from recorder_worker.core.verify.verdicts import EXIT_CODES, Verdict


def summarise(judged: Judgement) -> Report:
    """The report of a finished run."""
    run, verdict = judged.run, judged.verdict
    opened, seal, whole = run.opened, run.whole.seal, run.whole
    root = run.walk.newest_root()
    return Report(
        verdict=verdict,
        trust=judged.trust,
        exit_code=exit_code(verdict, judged.trust, judged.rules),
        session_id=opened.session_id if opened else "",
        session_counter=opened.session_counter if opened else 0,
        recorder=printable(opened.recorder) if opened else "",
        recorded=_recorded(opened) if opened else None,
        root_hash=root.hex() if root is not None else "",
        tree_size=run.walk.size,
        signed_size=run.one_tree.signed_size,
        signed_at_s=run.one_tree.signed_at_s,
        epochs=run.signers.begun,
        opened_wall_ns=opened.wall_ns if opened else 0,
        t_end_ns=max((stream.t_ns for stream in whole.streams), default=0),
        end_reason=seal.reason.value if seal else "",
        totals=whole.totals,
        gaps=tuple(whole.gaps),
        marks=tuple(run.attached.marks),
        chunk_map=run.chunks.chunk_map,
        closed_count=run.chunks.closed,
        damaged=tuple(run.chunks.damaged.first),
        damaged_count=run.chunks.damaged.count,
        cadence=judged.cadence,
        window=_window(judged.window),
        clip=run.clip.shown(run.walk.shown) if run.clip else None,
        rules=judged.rules,
        steps=judged.steps,
        failed_step=next((s.number for s in judged.steps if s.verdict is verdict), None),
        not_proved=tuple(printable(text) for text in _not_proved(judged, verdict)),
        warnings=tuple(judged.warnings),
    )


def _recorded(opened: OpenRecord) -> Recorded:
    return Recorded(
        kind=printable(opened.source_kind),
        uri=printable(opened.source_uri),
        description=printable(opened.source_description),
        node=printable(opened.node),
        profile=printable(opened.profile),
        fps=opened.frame_rate_mhz / 1000,
        masks=opened.masks[:MAX_MASKS],
        mask_count=len(opened.masks),
    )


def _window(window: TimeWindow | None) -> WindowProved:
    if window is None:
        return WindowProved()

    def time(bound: Bound | None) -> int | None:
        return bound.t_ns if bound is not None else None

    return WindowProved(
        not_before_ns=time(window.not_before),
        opened_by_ns=time(window.opened_by),
        not_after_ns=time(window.not_after),
    )


def _not_proved(judged: Judgement, verdict: Verdict) -> Iterator[str]:
    """What is never or not proved. The order is that of the steps."""
    trust = judged.trust
    if trust.status is not TrustStatus.TRUSTED:
        key = trust.public_key or "(unknown)"
        reason = (
            "no policy was given" if trust.status is TrustStatus.NO_POLICY else "not in the policy"
        )
        yield f"who recorded it: nobody vouches for key {key} ({reason})"
    yield from _time(judged)
    if EXIT_CODES[verdict] == 0 or verdict in {Verdict.TRUNCATED, Verdict.CLIP}:
        yield (
            "what happened before capture: that the pixels were genuine, and that recording "
            "began when it should have"
        )
        yield from _closed(judged)
        if count := judged.run.listing.thumbnails:
            yield f"what {count} thumbnails show: they are no part of the record"
        yield from _log(judged)
    else:
        yield "that this is what was recorded: see the steps that failed"
    if verdict is Verdict.TRUNCATED:
        yield f"what came behind the {judged.run.one_tree.signed_size} signed records"
    if verdict is Verdict.CLIP:
        yield from _clip(judged)


def _closed(judged: Judgement) -> Iterator[str]:
    chunks = judged.run.chunks
    if chunks.closed:
        yield (
            f"what is in {chunks.closed} of {len(chunks.chunk_map)} chunks: they are encrypted, "
            "and their plain bytes were not looked at (--identity)"
        )


def _time(judged: Judgement) -> Iterator[str]:
    window, receipts = judged.window, judged.receipts
    proved = window is not None and (window.not_before or window.opened_by or window.not_after)
    if not proved:
        yield "time unproven: no receipt; all times are the recorder's own clock's"
    else:
        yield "times inside the proved window: they are the recorder's own clock's"
    states = judged.run.clocks.states
    if states.get(ClockState.UNSYNCHRONISED):
        yield "that the recorder's clock was right: it was not synchronised all the time"
    elif states and not states.get(ClockState.SYNCHRONISED):
        yield "that the recorder's clock was right: nothing says that it was synchronised"
    for found in (receipts, window):
        yield from found.not_proved if found is not None else ()


def _log(judged: Judgement) -> Iterator[str]:
    log = judged.log
    if log is None or not log.holds(Covers.OPEN):
        yield "that no other session of this recorder was deleted: there is no proof of its log"
    else:
        yield (
            "that no other session of this recorder was deleted: `recorder log verify` with the "
            "recorder's log shows that"
        )
        if judged.run.sealed and not log.holds(Covers.SEAL):
            yield "that the seal is in the log of sessions: there is no proof of it"


def _clip(judged: Judgement) -> Iterator[str]:
    run = judged.run
    yield (
        f"what the rest of the session shows: {run.walk.size - run.walk.shown} of "
        f"{run.walk.size} records are hidden"
    )
    if not run.sealed:
        yield "how the session ended: it was not sealed when the clip was made"
    yield "how often was signed: the checkpoints between are not in a clip"
