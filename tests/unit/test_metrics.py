from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recorder_worker.ports import StageMetrics
from recorder_worker.service.metrics import Metrics

UNITS = (
    "_total",
    "_bytes",
    "_seconds",
    "_active",
    "_pending",
    "_info",
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
    metrics.chunk_stored("zstd", 100)
    metrics.checkpoint_signed()
    metrics.session_sealed("stopped")


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
    metrics.stage_backlog("chunk", 4, 1)
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
        "recorder_stage_pending{stage=chunk}": 4,
        "recorder_stage_ack_pending{stage=chunk}": 1,
        "recorder_dead_letters_total{stage=merkle}": 1,
        "recorder_checkpoints_total{}": 1,
        "recorder_store_free_bytes{}": 99,
        "recorder_build_info{node=n1,version=1.2.3}": 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_names_end_in_their_unit_and_labels_never_name_a_session(metrics: Metrics) -> None:
    use_all(metrics)
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
