from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.ids import command_id, event_key, session_id_for

TIMES = st.integers(0, 2**63 - 1)
SEQUENCES = st.integers(0, 2**64 - 1)


def test_a_command_has_the_id_that_its_client_gave_it() -> None:
    assert command_id("mine", 1, 2, b"3") == "mine"
    assert command_id("x" * 128, 1, 2, b"3") == "x" * 128


def test_long_ids_of_clients_are_told_apart_and_become_short() -> None:
    """They become part of other ids, and what differs at their end is another command."""
    first, second = (command_id("x" * 500 + end, 1, 2, b"3") for end in "12")
    assert first != second
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert command_id("x" * 500 + "1", 9, 9, b"9") == first


@pytest.mark.parametrize("given_id", [None, ""])
def test_a_command_without_an_id_gets_one_from_where_and_when_it_was_stored(
    given_id: str | None,
) -> None:
    found = command_id(given_id, 7, 1_000, b"{}")
    assert re.fullmatch(r"[0-9a-f]{32}", found)
    assert command_id(given_id, 7, 1_000, b"{}") == found, "a redelivery is the same command"
    others = {
        command_id(given_id, 8, 1_000, b"{}"),
        command_id(given_id, 7, 1_001, b"{}"),
        command_id(given_id, 7, 1_000, b"{ }"),
    }
    assert len(others | {found}) == 4


def test_the_id_of_a_command_never_changes() -> None:
    # Else a worker that was updated would take a redelivered start for another one.
    assert command_id(None, 1, 1_700_000_000_000_000_000, b'{"source":{}}') == (
        "ffd54809d937feb890b20c01f2405aee"
    )
    assert session_id_for("a command", 1_700_000_000_123_456_789) == (
        "018bcfe5-687b-7156-b8a5-26d1d8f797fe"
    )


@given(first=st.tuples(SEQUENCES, TIMES), second=st.tuples(SEQUENCES, TIMES), body=st.binary())
def test_two_places_in_the_stream_are_two_commands(
    first: tuple[int, int], second: tuple[int, int], body: bytes
) -> None:
    same = command_id(None, *first, body) == command_id(None, *second, body)
    assert same == (first == second)


@given(command=st.text(), received_ns=TIMES)
def test_a_made_session_id_is_a_uuid_of_version_7_with_the_time_of_its_command(
    command: str, received_ns: int
) -> None:
    found = uuid.UUID(session_id_for(command, received_ns))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == received_ns // 1_000_000 % 2**48
    assert session_id_for(command, received_ns) == str(found)


@given(command=st.text(), earlier_ms=st.integers(0, 2**43), later_ms=st.integers(1, 2**30))
def test_made_session_ids_sort_by_time(command: str, earlier_ms: int, later_ms: int) -> None:
    earlier = session_id_for(command, earlier_ms * 1_000_000)
    assert earlier < session_id_for(command + "?", (earlier_ms + later_ms) * 1_000_000)


def test_two_commands_of_one_moment_are_two_sessions() -> None:
    assert len({session_id_for(str(number), 5) for number in range(1000)}) == 1000


def test_the_key_of_an_event_is_what_it_is_made_of() -> None:
    assert event_key("session.chunked", "id", 3) == "session.chunked:id:3"
