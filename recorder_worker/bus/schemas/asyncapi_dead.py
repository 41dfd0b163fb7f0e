"""Dead letters in the AsyncAPI document: the letters, and what became of each."""

from __future__ import annotations

from typing import Any

from recorder_worker.bus.streams.topology import DEAD_STREAM
from recorder_worker.core.pipeline import CONSUMERS, GATEWAY
from recorder_worker.core.subjects import DEAD, Fact

Document = dict[str, Any]

SETTLED = f"{DEAD}.settled"
"""The name of the channel on which it stands what became of a letter."""

_STAGE = {
    "enum": [stage.name for stage in CONSUMERS],
    "description": "The consumer that gave up.",
}


def channels() -> Document:
    """Letters, and what became of them."""
    return {
        DEAD: {
            "address": f"{DEAD}.{{stage}}",
            "title": "Dead letters",
            "description": "Copies of messages that a stage could not process, byte for byte.",
            "parameters": {"stage": _STAGE},
            "messages": _message(DEAD),
            "tags": [{"name": "dead letter"}],
            "x-jetstream": {"stream": DEAD_STREAM},
        },
        SETTLED: {
            "address": f"{DEAD}.{{stage}}.{{letter}}",
            "title": "What became of a dead letter",
            "description": "One message for each letter that somebody has dealt with.",
            "parameters": {
                "stage": _STAGE,
                "letter": {"description": "The letter's id, as `recorder dead ls` has it."},
            },
            "messages": _message(Fact.AUDIT_SETTLED.value),
            "tags": [{"name": "dead letter"}],
            "x-jetstream": {"stream": DEAD_STREAM},
        },
    }


def operations() -> Document:
    """Any stage tells of letters, the gateway of what became of them."""
    return {
        f"recorder.tells.{DEAD}": _tells("any stage", DEAD, DEAD),
        f"{GATEWAY.name}.tells.{SETTLED}": _tells(GATEWAY.name, SETTLED, Fact.AUDIT_SETTLED.value),
    }


def _tells(who: str, channel: str, message: str) -> Document:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
        "title": f"{who} tells {channel}",
        "summary": f"by: {who}",
    }


def _message(name: str) -> Document:
    return {name: {"$ref": f"#/components/messages/{name}"}}
