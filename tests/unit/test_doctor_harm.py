"""What the doctor would take away from a stream or consumer by mending it, it does not mend."""

from __future__ import annotations

from typing import Any

import pytest
from nats.js.api import ConsumerConfig, StreamConfig

from recorder_worker.bus.inspection.harm import takes_away

TAKING = [
    ("max_age", 100.0, 50.0),
    ("max_age", 0, 50.0),
    ("max_bytes", -1, 10),
    ("max_msgs", 10, 9),
    ("max_msgs_per_subject", None, 1),
    ("num_replicas", 3, 1),
    ("duplicate_window", 120.0, 60.0),
    ("deny_delete", True, False),
    ("deny_purge", True, None),
    ("subjects", ["a", "b"], ["a"]),
    ("subjects", ["a"], ["b"]),
]
"""A setting, what there is, and what is declared."""


def stream(name: str, value: object) -> StreamConfig:
    settings: dict[str, Any] = {name: value}
    return StreamConfig(name="S", **settings)


@pytest.mark.parametrize(("name", "present", "declared"), TAKING)
def test_less_than_there_is_takes_something_away_and_more_does_not(
    name: str, present: object, declared: object
) -> None:
    assert takes_away(name, stream(name, present), stream(name, declared))
    if name != "subjects" or declared == ["a"]:
        assert not takes_away(name, stream(name, declared), stream(name, present))
    assert not takes_away(name, stream(name, present), stream(name, present))


def test_other_settings_take_nothing_away() -> None:
    assert not takes_away("description", stream("description", "a"), stream("description", "b"))


def test_a_consumer_keeps_what_it_takes_however_that_is_spelt() -> None:
    one = ConsumerConfig(durable_name="c", filter_subject="a")
    two = ConsumerConfig(durable_name="c", filter_subjects=["a", "again"])
    assert not takes_away("filter_subjects", one, two)
    assert takes_away("filter_subject", two, one)
    assert not takes_away("ack_wait", one, two)
