"""Deterministic ids: a redelivered command gets the same ones again."""

from __future__ import annotations

import uuid

from blake3 import blake3

COMMAND_CONTEXT = "session-recorder 2026-11 command id v1"
LONGEST_ID = 128
"""Of a client's own ids, in characters: they become part of other ids."""


def command_id(client_id: str | None, sequence: int, received_ns: int, body: bytes) -> str:
    """The identity of a command message.

    A client that sets `Nats-Msg-Id` names it, a long one by its digest; else it is derived from
    where and when the message was stored and what it says. The sequence alone would not do: a
    stream that lost its tail hands out the same sequences again.
    """
    if client_id:
        if len(client_id) <= LONGEST_ID:
            return client_id
        # Not cut: two that differ behind the cut would be one.
        return blake3(client_id.encode(), derive_key_context=COMMAND_CONTEXT).hexdigest()
    material = sequence.to_bytes(8, "big") + received_ns.to_bytes(8, "big") + body
    return blake3(material, derive_key_context=COMMAND_CONTEXT).hexdigest()[:32]


def session_id_for(command: str, received_ns: int) -> str:
    """A UUID of version 7 (RFC 9562 section 5.7) for a start that names none.

    The time is when the message was stored, the rest is a digest of the command's id: sortable
    like any version 7 UUID and the same on every redelivery.
    """
    digest = int.from_bytes(blake3(command.encode()).digest(length=10), "big")
    value = (received_ns // 1_000_000 & (1 << 48) - 1) << 80 | digest
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))


def event_key(*parts: str | int) -> str:
    """A deterministic `Nats-Msg-Id`."""
    return ":".join(str(part) for part in parts)
