"""Copies for the owners of sessions in the AsyncAPI document: a channel for each fact copied."""

from __future__ import annotations

from typing import Any

from recorder_worker.bus.streams.topology import CLIENTS_STREAM
from recorder_worker.core.pipeline import OWNERS
from recorder_worker.core.subjects import CLIENT, COPIED, OWNER_NAME, Fact, copy_for

Document = dict[str, Any]


def copy_channel(fact: Fact) -> str:
    """The name of the channel of a fact's copies."""
    return f"{CLIENT}.{fact.value}"


def channels(parameters: Document) -> Document:
    """One for each fact that is copied; its messages are those of the fact."""
    return {
        copy_channel(fact): {
            "address": copy_for("{owner}", fact, "{session_id}"),
            "title": f"Copies of {fact.value}",
            "description": "For the owner of the session, who may read no others.",
            "parameters": {
                "owner": {"description": f"The owner, where his name matches {OWNER_NAME}."},
                "session_id": parameters["session_id"],
            },
            "messages": {fact.value: {"$ref": f"#/components/messages/{fact.value}"}},
            "tags": [{"name": "fact"}],
            "x-jetstream": {"stream": CLIENTS_STREAM},
        }
        for fact in COPIED
    }


def operations() -> Document:
    """Who tells them."""
    return {
        f"{OWNERS.name}.tells.{copy_channel(fact)}": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{copy_channel(fact)}"},
            "messages": [{"$ref": f"#/channels/{copy_channel(fact)}/messages/{fact.value}"}],
            "title": f"{OWNERS.name} tells {copy_channel(fact)}",
            "summary": f"by: {OWNERS.name}",
        }
        for fact in COPIED
    }
