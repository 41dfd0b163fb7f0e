"""Captured event logs for tests: valid ones, made by hypothesis or by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from recorder_worker.core.events import (
    BeatCaptured,
    CapturedEvent,
    EndCaptured,
    EpochCaptured,
    GapCaptured,
    MarkCaptured,
    Opened,
    PauseCaptured,
    SegmentCaptured,
    SessionNumbered,
)
from recorder_worker.core.model import (
    Cursor,
    EndReason,
    GapReason,
    RecordingPolicy,
    SourceClock,
    SourceFacts,
    Span,
)

SESSION = "00000000-0000-4000-8000-000000000001"
SECOND = 1_000_000_000
DIGEST = "ab" * 32
POLICY = RecordingPolicy(
    chunk_duration_ns=10 * SECOND,
    chunk_max_stored_size=5000,
    chunk_max_plain_size=100_000,
    zstd_level=3,
    zstd_window_log=23,
)


class LogBuilder:
    """Builds a valid captured log, event by event."""

    def __init__(self, session_id: str = SESSION) -> None:
        self.session_id = session_id
        self.events: list[CapturedEvent] = []
        self.cursor = Cursor()
        self.paused = False
        self.epoch = 0
        self._keyframe_due = True
        self._add(
            Opened,
            manifest_digest=DIGEST,
            source=SourceFacts(
                kind="pattern",
                uri="pattern:desktop",
                description="",
                width=64,
                height=64,
                clock=SourceClock.MEDIA,
                frame_rate=10.0,
            ),
            profile="screen",
            fps=10.0,
            masks=(),
            policy=POLICY,
            node="node",
            boot_id="",
            software="test",
            software_blake3=DIGEST,
            numbered=SessionNumbered(session_id=session_id, counter=1),
        )

    def _add(self, type_: Any, **fields: Any) -> None:  # noqa: ANN401  (any captured event)
        self.events.append(
            type_(
                session_id=self.session_id,
                ordinal=len(self.events),
                lease="lease",
                controls=0,
                cursor=self.cursor,
                paused=self.paused,
                epoch=self.epoch,
                wall_ns=self.cursor.t_ns,
                **fields,
            )
        )

    def _span(self, units: int, duration_ns: int) -> Span:
        start = self.cursor
        self.cursor = Cursor(
            unit=start.unit + units, t_ns=start.t_ns + duration_ns, wall_ns=start.t_ns
        )
        return Span(
            first_unit=start.unit,
            unit_count=units,
            t0_ns=start.t_ns,
            t1_ns=self.cursor.t_ns,
            wall0_ns=start.t_ns,
            wall1_ns=self.cursor.t_ns,
        )

    def segment(
        self,
        units: int = 10,
        duration_ns: int = SECOND,
        *,
        keyframe: bool = False,
        stored_size: int = 100,
        plain_size: int = 1000,
    ) -> LogBuilder:
        """A segment; it begins with a keyframe where one is due."""
        keyframe = keyframe or self._keyframe_due
        self._keyframe_due = False
        self._add(
            SegmentCaptured,
            span=self._span(units, duration_ns),
            keyframe=keyframe,
            name=f"segments/{len(self.events)}",
            raw_size=plain_size * 2,
            plain_size=plain_size,
            plain_blake3=DIGEST,
            stored_size=stored_size,
            stored_blake3=DIGEST,
        )
        return self

    def gap(self, units: int = 5, duration_ns: int = SECOND) -> LogBuilder:
        """A gap; a keyframe is due behind it."""
        self._keyframe_due = True
        self._add(
            GapCaptured, span=self._span(units, duration_ns), reason=GapReason.CRASH, detail=""
        )
        return self

    def mark(self) -> LogBuilder:
        """A client's mark."""
        self._add(MarkCaptured, t_ns=self.cursor.t_ns, kind="note", by="me", body="{}")
        return self

    def beat(self) -> LogBuilder:
        """A sign of life."""
        self._add(BeatCaptured)
        return self

    def turn(self) -> LogBuilder:
        """The next key epoch."""
        self.epoch += 1
        self._add(EpochCaptured)
        return self

    def pause(self) -> LogBuilder:
        """A pause and the gap behind it."""
        self.paused = True
        self._add(PauseCaptured, t_ns=self.cursor.t_ns, by="me")
        self.paused = False
        return self.gap()

    def end(self, reason: EndReason = EndReason.STOPPED) -> list[CapturedEvent]:
        """The whole log."""
        self._add(EndCaptured, t_ns=self.cursor.t_ns, reason=reason, detail="")
        return self.events


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("segment"),
            st.integers(1, 30),
            st.integers(1, 4 * SECOND),
            st.booleans(),
            st.integers(1, 2000),
        ),
        st.tuples(st.just("gap"), st.integers(0, 30), st.integers(0, 4 * SECOND)),
        st.tuples(st.just("mark")),
        st.tuples(st.just("pause")),
        st.tuples(st.just("beat")),
        st.tuples(st.just("turn")),
    ),
    max_size=40,
)


@st.composite
def captured_logs(draw: st.DrawFn) -> list[CapturedEvent]:
    """Any valid captured log that has ended."""
    builder = LogBuilder()
    for step in draw(STEPS):
        match step:
            case ("segment", units, duration_ns, keyframe, stored_size):
                builder.segment(units, duration_ns, keyframe=keyframe, stored_size=stored_size)
            case ("gap", units, duration_ns):
                builder.gap(units, duration_ns)
            case ("mark",):
                builder.mark()
            case ("beat",):
                builder.beat()
            case ("turn",):
                builder.turn()
            case _:
                builder.pause()
    return builder.end()
