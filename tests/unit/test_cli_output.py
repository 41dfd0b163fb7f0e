"""What commands print: text of others does nothing in a terminal."""

from __future__ import annotations

import io

import pytest

from recorder_worker.cli.output import SafeConsole

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_text_of_others_does_nothing_in_a_terminal(terminal: bool) -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, force_terminal=terminal, highlight=False, soft_wrap=True)
    console.print(f"source  {HOSTILE}\nsecond line", markup=False)
    shown = stream.getvalue()
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    assert shown.splitlines() == ["source  \\x1b]0;owned\\x07\\x1b[2J\\x9b31m", "second line"]


def test_what_is_ours_is_coloured_all_the_same() -> None:
    stream = io.StringIO()
    SafeConsole(file=stream, force_terminal=True, color_system="standard").print("no", style="red")
    assert "\x1b[31m" in stream.getvalue()
