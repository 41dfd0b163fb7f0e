"""From the bytes of a command to a validated value, or to a refusal that a person understands."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from recorder_worker.core.command_words import expected_words, hint_at, hint_for_unknown
from recorder_worker.core.commands import (
    ControlCommand,
    DeleteSession,
    HoldSession,
    MarkSession,
    MaskSession,
    PauseSession,
    ReleaseSession,
    ResumeSession,
    RetentionCommand,
    StartSession,
    StopSession,
)
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.profiles import check_start
from recorder_worker.core.sources.urls import shown
from recorder_worker.core.subjects import UNKNOWN_SESSION, Command, is_owner_name

MAX_COMMAND_BYTES = 65_536
SHOWN_CHARACTERS = 120

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises: brackets that are nested very deep raise the last of them."""

AnyCommand = StartSession | ControlCommand | RetentionCommand

COMMAND_TYPES: dict[Command, type[AnyCommand]] = {
    Command.START: StartSession,
    Command.STOP: StopSession,
    Command.PAUSE: PauseSession,
    Command.RESUME: ResumeSession,
    Command.MARK: MarkSession,
    Command.MASK: MaskSession,
    Command.HOLD: HoldSession,
    Command.RELEASE: ReleaseSession,
    Command.DELETE: DeleteSession,
}

_AT = re.compile(r"^(?P<problem>.*?)(?: - at (?:`?key`? in )?`(?P<path>\$[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")
_UNKNOWN = re.compile(r"contains unknown field `(?P<name>[^`]+)`")
_EXPECTED = re.compile(r"^Expected (?P<what>.*?)(?:, got `(?P<got>[^`]+)`)?$", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_DECODERS: dict[Command, msgspec.json.Decoder[AnyCommand]] = {
    command: msgspec.json.Decoder(kind) for command, kind in COMMAND_TYPES.items()
}


def parse_command(command: Command, data: bytes) -> AnyCommand:
    """The validated command.

    Raises:
        RefusedError: it is too long, not JSON, or not of the command's schema.
    """
    if len(data) > MAX_COMMAND_BYTES:
        raise RefusedError(
            field="$",
            expected=f"at most {MAX_COMMAND_BYTES} bytes",
            got=f"{len(data)} bytes",
            hint="a command names a source; it does not carry its data",
        )
    try:
        parsed = _DECODERS[command].decode(data)
    except msgspec.ValidationError as error:
        try:
            value = msgspec.json.decode(data)
        except NOT_JSON as worse:  # a decoder that looks for known fields skips what is in others
            raise _not_json(command, worse, data) from error
        raise _invalid(command, str(error), value) from error
    except NOT_JSON as error:
        raise _not_json(command, error, data) from error
    if isinstance(parsed, StartSession):
        check_start(parsed)
    return parsed


def session_id_in(data: bytes) -> str:
    """The session id that a command of any quality names, else `unknown`.

    For addressing a refusal; never trusted otherwise.
    """
    session_id = _field_of("session_id", data)
    return session_id if _UUID.fullmatch(session_id) else UNKNOWN_SESSION


def owner_in(data: bytes) -> str:
    """The owner that a start of any quality names, else nothing; as `session_id_in`."""
    owner = _field_of("owner", data)
    return owner if is_owner_name(owner) else ""


def _field_of(name: str, data: bytes) -> str:
    """A text in a command that need not be one; empty where there is none."""
    if len(data) > MAX_COMMAND_BYTES:
        return ""
    try:
        found = msgspec.json.decode(data)
    except NOT_JSON:
        return ""
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def is_session_id(text: str) -> bool:
    """Whether a text is the id of a session."""
    return _UUID.fullmatch(text) is not None


def check_session_id(text: str) -> None:
    """Raises RefusedError where a text is not the id of a session."""
    if not is_session_id(text):
        raise RefusedError(
            field="session_id",
            expected=expected_words("$.session_id", ""),
            got=_shown(text),
            hint=hint_at("$.session_id", ""),
        )


def _not_json(command: Command, error: Exception, data: bytes) -> RefusedError:
    return RefusedError(
        field="$",
        expected="a JSON object",
        got=_shown(data.decode(errors="replace")),
        hint=f"{error}; schemas/{command.value}.json describes the command",
    )


def _invalid(command: Command, message: str, value: object) -> RefusedError:
    """Turn msgspec's one-line message into field, expected, got and hint."""
    match = _AT.match(message)
    problem, path = (match["problem"], match["path"] or "$") if match else (message, "$")
    hint = f"see schemas/{command.value}.json"
    if missing := _MISSING.search(problem):
        wanted = expected_words(f"{path}.{missing['name']}", "a value", _kind_in(value))
        return RefusedError(
            field=_join(path, missing["name"]), expected=wanted, got="nothing", hint=hint
        )
    if unknown := _UNKNOWN.search(problem):
        return RefusedError(
            field=_join(path, unknown["name"]),
            expected="a known field",
            got=_shown(unknown["name"]),
            hint=hint_for_unknown(path, unknown["name"]) or hint,
        )
    expected = _EXPECTED.match(problem)
    got = _value_at(path, value)
    return RefusedError(
        field=_join(path, ""),
        expected=expected_words(path, expected["what"] if expected else problem, _kind_in(value)),
        got=got if got is not None else (expected and expected["got"]) or "something else",
        hint=hint_at(path, hint),
    )


def _join(path: str, name: str) -> str:
    return (
        ".".join(part for part in (path.removeprefix("$").removeprefix("."), name) if part) or "$"
    )


def _value_at(path: str, value: Any) -> str | None:  # noqa: ANN401  (whatever JSON holds)
    """The offending value as the client wrote it; None where the path does not lead to one."""
    for part in re.findall(r"[^.\[\]]+", path.removeprefix("$")):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return _shown(msgspec.json.encode(value).decode())


def _kind_in(value: object) -> str:
    """The kind of source that a start of any quality names."""
    source = value.get("source") if isinstance(value, dict) else None
    kind = source.get("kind") if isinstance(source, dict) else None
    return kind if isinstance(kind, str) else ""


def _shown(text: str) -> str:
    text = shown(text)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
