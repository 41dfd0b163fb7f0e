from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from recorder_worker.service.observing.logs import adopt, configure, without_credentials
from recorder_worker.service.settings.tree import LogSettings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_context_left() -> Iterator[None]:
    yield
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_logger_that_spoke_before_follows_what_is_configured_now() -> None:
    first, second = io.StringIO(), io.StringIO()
    logger = structlog.get_logger("a")
    for stream in (first, second):
        configure(LogSettings(), stream)
        logger.warning("DiskFull")
    assert [len(lines(stream)) for stream in (first, second)] == [1, 1]
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as caught:
        logger.warning("DiskFull")
    assert len(caught) == 1


def test_a_line_is_json_off_a_terminal_and_words_on_one() -> None:
    stream, terminal = io.StringIO(), Terminal()
    configure(LogSettings(), stream)
    structlog.get_logger("a").info("SessionStarted", width=3)
    [line] = lines(stream)
    assert line["event"] == "SessionStarted"
    assert (line["level"], line["logger"], line["width"]) == ("info", "a", 3)
    assert str(line["timestamp"]).endswith("Z")
    configure(LogSettings(), terminal)
    structlog.get_logger("b").info("SessionStarted", width=3)
    assert "SessionStarted" in terminal.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(terminal.getvalue())


def test_the_format_can_be_forced() -> None:
    terminal, stream = Terminal(), io.StringIO()
    configure(LogSettings(format="json"), terminal)
    structlog.get_logger().info("Event")
    assert terminal.getvalue().startswith("{")
    configure(LogSettings(format="console"), stream)
    structlog.get_logger().info("Event")
    assert not stream.getvalue().startswith("{")


def test_the_level_holds_for_both_kinds_of_loggers() -> None:
    stream = io.StringIO()
    configure(LogSettings(level="warning"), stream)
    structlog.get_logger("own").info("hidden")
    logging.getLogger("library").info("hidden")
    structlog.get_logger("own").warning("shown")
    logging.getLogger("library").error("shown %d", 2)
    assert [line["event"] for line in lines(stream)] == ["shown", "shown 2"]


def test_what_is_bound_to_the_context_is_on_every_line() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)
    with structlog.contextvars.bound_contextvars(session_id="s1", stage="chunk"):
        structlog.get_logger().info("Own")
        logging.getLogger("nats.aio.client").warning("library")
    structlog.get_logger().info("After")
    one, two, after = lines(stream)
    assert one["session_id"] == two["session_id"] == "s1"
    assert two["stage"] == "chunk"
    assert "session_id" not in after


def test_a_library_with_handlers_of_its_own_comes_out_once_and_in_form() -> None:
    own = io.StringIO()
    library = logging.getLogger("faststream")
    library.addHandler(logging.StreamHandler(own))
    library.propagate = False
    later = logging.getLogger("faststream.access.nats")
    stream = io.StringIO()
    configure(LogSettings(), stream)
    library.warning("one")
    later.addHandler(logging.StreamHandler(own))
    later.propagate = False
    adopt(later)
    later.warning("two")
    assert [line["event"] for line in lines(stream)] == ["one", "two"]
    assert own.getvalue() == ""


@pytest.mark.parametrize(
    "key",
    ["password", "nats_password", "token", "auth-token", "secret", "Authorization", "API_KEY"],
)
@pytest.mark.parametrize("format_", ["json", "console"])
def test_values_of_secret_keys_are_hidden_at_any_depth(key: str, format_: str) -> None:
    stream = io.StringIO()
    configure(LogSettings(format="json" if format_ == "json" else "console"), stream)
    structlog.get_logger().info("E", **{key: "hunter2"}, inner={"list": [{key: "hunter2"}]})
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("***") == 2


def test_keys_that_only_sound_secret_are_shown() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)
    structlog.get_logger().info("E", token_count=3, password="", keys=2)
    [line] = lines(stream)
    assert (line["token_count"], line["password"], line["keys"]) == (3, "", 2)


def test_passwords_in_urls_are_hidden_in_messages_values_and_tracebacks() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)
    url = "nats://user:hunter2@host:4222"
    logging.getLogger("nats").warning("cannot reach %s", url)
    structlog.get_logger().info("E", server=url)
    try:
        int(url)
    except ValueError:
        structlog.get_logger().exception("Failed")
        logging.getLogger("library").exception("failed")
    assert "hunter2" not in stream.getvalue()
    assert len(lines(stream)) == 4
    assert "Traceback" in str(lines(stream)[2]["exception"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://u:p@h:1", "nats://***@h:1"),
        ("nats://token@h", "nats://***@h"),
        ("a nats://u:p@one,tls://u:p@two b", "a nats://***@one,tls://***@two b"),
        ("http://h/path@x", "http://h/path@x"),
        ("me@host", "me@host"),
    ],
)
def test_only_credentials_are_taken_out_of_urls(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_a_value_that_json_does_not_know_does_not_lose_the_line() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)
    structlog.get_logger().info("E", value=object(), data=b"\xff")
    assert lines(stream)[0]["event"] == "E"


def test_a_terminal_does_nothing_of_what_a_text_says() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m"
    stream = io.StringIO()
    configure(LogSettings(format="console"), stream)
    log = structlog.get_logger("test")
    log.warning("CommandRejected", got=hostile)
    log.error("Failed", exc_info=ValueError(hostile))
    shown = stream.getvalue()
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    assert "\\x1b]0;owned\\x07" in shown
