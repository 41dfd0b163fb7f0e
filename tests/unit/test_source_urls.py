"""Logins in URLs: whatever stands in them, nobody is shown a password."""

from __future__ import annotations

import msgspec
import pytest

from recorder_worker.core.command_parsing import parse_command
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.sources.urls import shown
from recorder_worker.core.subjects import Command


@pytest.mark.parametrize(
    "password", ['ge"heim', "ge heim", "ge/heim", "ge#heim", "ge?heim", "ge@heim", "ge\\heim"]
)
def test_a_password_that_should_have_been_percent_encoded_is_not_shown(password: str) -> None:
    uri = f"rtsp://user:{password}@camera.lan/cam"
    assert shown(uri) == "rtsp://camera.lan/cam"
    assert shown(f'rejected: "{uri}"') == 'rejected: "rtsp://camera.lan/cam"'


@pytest.mark.parametrize("password", ['ge"heim', "ge heim", "ge\nheim"])
def test_a_login_that_cannot_be_told_apart_is_refused_and_not_repeated(password: str) -> None:
    # Taken for a part of the host it would stand in session.json, and in every fact.
    uri = f"rtsp://user:{password}@camera.lan/cam"
    start = msgspec.json.encode({"source": {"kind": "rtsp", "uri": uri}, "profile": "copy"})
    with pytest.raises(RefusedError) as refused:
        parse_command(Command.START, start)
    assert refused.value.refusal.field == "source.uri"
    assert "heim" not in str(refused.value)
