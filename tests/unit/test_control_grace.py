"""How long a command waits for its session's start, and what an older control event says."""

from __future__ import annotations

import msgspec
import pytest

from recorder_worker.core.events import Control
from recorder_worker.stages.control import FORGET_NS, START_GRACE_NS, StartGrace

S = 1_000_000_000
SESSION = "00000000-0000-4000-8000-00000000000a"


def test_commands_that_come_together_wait_together() -> None:
    grace = StartGrace()
    deadline_ns = grace.deadline_ns(1000 * S, 5 * S)
    assert deadline_ns == 5 * S + START_GRACE_NS
    grace.ran_out(1000 * S, deadline_ns)
    later_ns = grace.deadline_ns(1000 * S + S // 10, deadline_ns)
    assert later_ns == deadline_ns + S // 10


@pytest.mark.parametrize("received_s", [2000, 900])
def test_no_command_waits_longer_than_the_grace_and_a_set_clock_is_forgotten(
    received_s: int,
) -> None:
    grace = StartGrace()
    grace.ran_out(1000 * S, 7 * S)
    assert grace.deadline_ns(received_s * S, 8 * S) <= 8 * S + START_GRACE_NS
    now_ns = 7 * S + FORGET_NS + 1
    assert grace.deadline_ns(received_s * S, now_ns) == now_ns + START_GRACE_NS


def test_a_control_event_without_its_place_in_commands_still_decodes() -> None:
    old = {
        "type": "control",
        "v": 1,
        "session_id": SESSION,
        "ordinal": 0,
        "command": "session.stop",
        "command_id": "c",
        "by": "",
        "body": "{}",
        "wall_ns": 1,
    }
    event = msgspec.convert(old, Control)
    assert (event.command_sequence, event.command_received_ns) == (0, 0)
