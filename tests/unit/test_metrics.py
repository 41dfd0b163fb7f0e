from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recorder_worker.bus.bus import Backlog, StreamFill
from recorder_worker.bus.sessions.roster import LogSeen, SessionSeen, SessionState
from recorder_worker.core.model import ClockState
from recorder_worker.ports import StageMetrics
from recorder_worker.service.observing.gauges import Gauges
from recorder_worker.service.observing.health import Check
from recorder_worker.service.observing.metrics import Metrics

NOW = 1_795_000_000_000_000_000
SECOND = 1_000_000_000

UNITS = (
    "_total",
    "_bytes",
    "_seconds",
    "_active",
    "_pending",
    "_info",
    "_entries",
    "_segments",
    "_messages",
    "_capacity",
    "_known",
    "_connected",
    "_ok",
    "_state",
    "_bucket",
    "_sum",
    "_count",
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", node="n1")


def use_all(metrics: StageMetrics) -> None:
    metrics.handled("chunk", "ack", 0.02)
    metrics.dead_lettered("merkle")
    metrics.rejected("session.start")
    metrics.session_started()
    metrics.sessions_active(2)
    metrics.segment_captured(10, 3000, 200)
    metrics.gap_captured("pause", 7)
    metrics.segment_refused()
    metrics.rate_changed("behind", lower=True)
    metrics.keyframe_looked("seen")
    metrics.behind(behind=True)
    metrics.chunk_stored("zstd", 150, 100)
    metrics.received("chunk", 300, again=False)
    metrics.received("chunk", 300, again=True)
    metrics.published("chunk", 40)
    metrics.checkpoint_signed()
    metrics.session_sealed("stopped")


def use_gauges(gauges: Gauges) -> None:
    signed = SessionSeen(session_id="a", number=1, state=SessionState.RECORDING, signed_ns=NOW)
    never = SessionSeen(session_id="b", number=2, state=SessionState.PAUSED, numbered_ns=NOW)
    gauges.backlog("chunk", Backlog(4, 1, 2, NOW), NOW + 3 * SECOND)
    gauges.backlog("log", Backlog(0, 0), NOW)
    gauges.sessions(
        [
            signed,
            never,
            SessionSeen(session_id="c", number=3, state=SessionState.SEALED, signed_ns=1),
            SessionSeen(session_id="d", number=4, state=SessionState.INCIDENT, signed_ns=1),
            SessionSeen(session_id="e", number=5, state=SessionState.STARTING, numbered_ns=1),
        ],
        NOW + 7 * SECOND,
    )
    gauges.log_head(LogSeen(9, "ab" * 32, NOW), NOW + 11 * SECOND)
    gauges.spool(5, 500)
    gauges.bus(connected=True, reconnects=2)
    gauges.bus(connected=False, reconnects=3)
    gauges.streams({"SESSIONS": StreamFill(10, 100, 3), "REGISTER": StreamFill(10, -1, 3)})
    gauges.checks([Check("bus", ok=False, detail=""), Check("disk", ok=True, detail="")])
    gauges.machine(ClockState.SYNCHRONISED, 77, 8)
    gauges.disk(3)
    gauges.spans("dropped", 6)


def samples(metrics: Metrics) -> dict[str, float]:
    text = metrics.render().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_every_metric_is_shown_with_its_value(metrics: Metrics) -> None:
    use_all(metrics)
    metrics.store_free(99)
    found = samples(metrics)
    expected = {
        "recorder_frames_total{}": 10,
        "recorder_segments_total{}": 1,
        "recorder_chunks_total{codec=zstd}": 1,
        "recorder_raw_bytes_total{}": 3000,
        "recorder_plain_bytes_total{}": 200,
        "recorder_stored_bytes_total{}": 100,
        "recorder_gaps_total{reason=pause}": 1,
        "recorder_lost_units_total{}": 7,
        "recorder_sessions_active{}": 2,
        "recorder_sessions_started_total{}": 1,
        "recorder_sessions_sealed_total{reason=stopped}": 1,
        "recorder_commands_rejected_total{command=session.start}": 1,
        "recorder_messages_total{outcome=ack,stage=chunk}": 1,
        "recorder_message_seconds_count{stage=chunk}": 1,
        "recorder_message_seconds_sum{stage=chunk}": 0.02,
        "recorder_message_bytes_total{direction=in,stage=chunk}": 600,
        "recorder_message_bytes_total{direction=out,stage=chunk}": 40,
        "recorder_redeliveries_total{stage=chunk}": 1,
        "recorder_chunk_plain_bytes_total{}": 150,
        "recorder_chunk_ratio_bucket{le=1.5}": 1,
        "recorder_chunk_ratio_bucket{le=1.0}": 0,
        "recorder_dead_letters_total{stage=merkle}": 1,
        "recorder_checkpoints_total{}": 1,
        "recorder_store_free_bytes{}": 99,
        "recorder_build_info{node=n1,version=1.2.3}": 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_what_is_looked_up_is_shown_too(metrics: Metrics) -> None:
    use_gauges(metrics.gauges)
    found = samples(metrics)
    expected = {
        "recorder_stage_pending{stage=chunk}": 4,
        "recorder_stage_ack_pending{stage=chunk}": 1,
        "recorder_stage_redelivered_pending{stage=chunk}": 2,
        "recorder_stage_lag_seconds{stage=chunk}": 3,
        "recorder_stage_lag_seconds{stage=log}": 0,
        "recorder_sessions_known{state=recording}": 1,
        "recorder_sessions_known{state=incident}": 1,
        "recorder_sessions_known{state=sealing}": 0,
        # Sealed, given up or never opened: none of these owes a checkpoint.
        "recorder_checkpoint_age_seconds{}": 7,
        "recorder_log_entries{}": 9,
        "recorder_log_age_seconds{}": 11,
        "recorder_spool_segments{}": 5,
        "recorder_spool_bytes{}": 500,
        "recorder_bus_connected{}": 0,
        "recorder_bus_reconnects_total{}": 3,
        "recorder_stream_bytes{stream=SESSIONS}": 10,
        "recorder_stream_max_bytes{stream=SESSIONS}": 100,
        "recorder_stream_max_bytes{stream=REGISTER}": float("inf"),
        "recorder_stream_messages{stream=REGISTER}": 3,
        "recorder_check_ok{check=bus}": 0,
        "recorder_check_ok{check=disk}": 1,
        "recorder_clock_state{state=synchronised}": 1,
        "recorder_clock_state{state=unknown}": 0,
        "recorder_store_floor_bytes{}": 77,
        "recorder_sessions_capacity{}": 8,
        "recorder_disk_state{}": 3,
        "recorder_spans_total{outcome=dropped}": 6,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_names_end_in_their_unit_and_labels_never_name_a_session(metrics: Metrics) -> None:
    use_all(metrics)
    use_gauges(metrics.gauges)
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name.startswith("recorder_"):
                assert sample.name.endswith(UNITS), sample.name
                assert not any("session" in label for label in sample.labels), sample.labels
                assert re.fullmatch(r"[a-z_]+", sample.name)


def test_two_recorders_in_one_process_do_not_share_numbers(metrics: Metrics) -> None:
    other = Metrics(version="1", node="n2")
    metrics.session_started()
    assert samples(metrics)["recorder_sessions_started_total{}"] == 1
    assert samples(other)["recorder_sessions_started_total{}"] == 0


def test_a_store_without_a_limit_has_infinite_room(metrics: Metrics) -> None:
    metrics.store_free(None)
    assert samples(metrics)["recorder_store_free_bytes{}"] == float("inf")
