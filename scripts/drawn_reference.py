"""The drawn parts of docs/reference.md: subjects, messages with their fields, exit codes.

Everything comes from the tables and types that the program runs on, but for two columns: what a
subject says, and how its messages are named and fenced, are read out of docs/bus.md, where they are
written by hand and held against a running recorder by `tests/integration/test_real_messages.py`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from markdown_parts import code, first_line, table

from recorder_worker.bus.codec import FACT_TYPES
from recorder_worker.bus.schemas import frame_schemas, service_schemas
from recorder_worker.bus.schemas.asyncapi import ANSWERS
from recorder_worker.bus.streams.topology import COMMANDS_STREAM, CONSUMED, DEAD_STREAM, STREAM_OF
from recorder_worker.cli.output import EXIT_CODES as CLI_EXIT_CODES
from recorder_worker.core.command_parsing import COMMAND_TYPES
from recorder_worker.core.pipeline import CAPTURE, CONSUMERS, GATEWAY, SERVICES
from recorder_worker.core.subjects import DEAD, Command, Endpoint, Fact, again
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 2**63 - 1
Schema = dict[str, Any]


# --- subjects -------------------------------------------------------------------------------------


def subjects() -> str:
    """Every subject: who publishes it, who consumes it, what its messages are."""
    says, ids = _said("## Subjects", 2), _said("## Message ids and fences", 1)
    fences = _said("## Message ids and fences", 2)
    told = {str(f): [s.name for s in (*CONSUMERS, *SERVICES) if f in s.emits] for f in Fact}
    taken = {
        subject: [s.name for s in CONSUMERS if subject in s.consumes]
        for subject in (*map(str, Command), *(f.wildcard for f in Fact))
    }
    rows = [
        (
            code(command),
            code(COMMANDS_STREAM),
            "clients",
            _names(taken[command]),
            _schema(command),
            code(ANSWERS[command]) if command in ANSWERS else "",
        )
        for command in Command
    ]
    commands = ("command", "stream", "published by", "taken by", "schema", "when obeyed")
    facts = ("fact", "stream", "published by", "taken by", "schema", "message id", "fenced", "says")
    fact_rows = [
        (
            code(fact.wildcard),
            code(STREAM_OF[fact]),
            _names(told[fact]) or "the recorder",
            _names(taken[fact.wildcard]),
            _schema(fact),
            ids.get(fact, ""),
            fences.get(fact, ""),
            says.get(fact, ""),
        )
        for fact in Fact
    ]
    dead = (code(f"{DEAD}.*"), code(DEAD_STREAM), "every stage", "", "", "", "no")
    fact_rows.append((*dead, "a message that a stage could not process, as it came"))
    fact_rows.append(
        (
            *(code(f"{DEAD}.*.*"), code(DEAD_STREAM), code(GATEWAY.name), ""),
            *(_schema(Fact.AUDIT_SETTLED), "", "yes, as the first of its subject"),
            "what became of a dead letter: `session.dead.<stage>.<letter>`",
        )
    )
    fact_rows += [
        (
            *(code(again(stage.name, "*")), code(stream), code(GATEWAY.name), code(stage.name)),
            *("", "", "yes, as the first of its subject"),
            "a dead letter, once more",
        )
        for stream, stages in CONSUMED.items()
        for stage in stages
    ]
    return "\n\n".join([table(commands, rows), table(facts, fact_rows), _endpoints()])


def _endpoints() -> str:
    """The requests that the recorder answers."""
    rows = [
        (code(one), "clients", "gateway", _schema(f"{one}.request"), _schema(f"{one}.answer"))
        for one in Endpoint
    ]
    frame = (", ".join(map(code, CAPTURE.records)), "clients", CAPTURE.name)
    rows.append((*frame, "a frame: [sources.md](sources.md)", _schema(frame_schemas.ANSWER)))
    return table(("request", "sent by", "answered by", "schema", "answer"), rows)


def _names(stages: list[str]) -> str:
    return ", ".join(map(code, stages))


def _schema(subject: str) -> str:
    return f"[{subject}](../schemas/{subject}.json)"


def _said(heading: str, column: int) -> dict[str, str]:
    """A column of the tables below a heading of docs/bus.md, by subject."""
    text = (ROOT / "docs" / "bus.md").read_text(encoding="utf-8")
    section = text.split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) > column and cells[0].startswith("`"):
            for subject in re.findall(r"`([^`]+)`", cells[0]):
                found[subject] = cells[column].replace("<subject>", subject)
    return found


# --- messages -------------------------------------------------------------------------------------


def messages() -> str:
    """Every message with its fields, and the values that they are made of."""
    kinds: dict[str, Any] = {c.value: kind for c, kind in COMMAND_TYPES.items()}
    kinds |= {f.value: kind for f, kind in FACT_TYPES.items()}
    kinds |= service_schemas.types() | frame_schemas.types()
    _, parts = msgspec.json.schema_components(kinds.values(), ref_template="{name}")
    members = {s: getattr(kind, "__args__", None) or (kind,) for s, kind in kinds.items()}
    for subject, found in members.items():
        for member in found:
            # Where another message has it as a value: its own place is the message.
            parts[member.__name__]["place"] = re.sub(r"[^\w-]", "", subject)
    sections = [f"### {subject}\n\n{_members(found, parts)}" for subject, found in members.items()]
    shown = {member.__name__ for found in members.values() for member in found}
    values = [name for name, part in sorted(parts.items()) if name not in shown]
    structs = [_value(name, parts) for name in values if "properties" in parts[name]]
    return "\n\n".join([*sections, "## Values", *structs])


def _members(members: tuple[Any, ...], parts: dict[str, Schema]) -> str:
    if len(members) == 1:
        return _struct(members[0], parts, set())
    common = set.intersection(*(_fields(parts[m.__name__], parts) for m in members))
    shared = {name for name, _ in common}
    above = [b for b in members[0].__mro__[1:] if shared <= set(_names_of(b))]
    lines = [_sentence(above[0])] if above else []
    lines.append(_table(members[0], parts, set(_names_of(members[0])) - shared))
    for member in members:
        tag = member.__struct_config__.tag
        rest = _struct(member, parts, shared)
        lines.append(f"**`{tag}`**: {rest[:1].lower() + rest[1:] if rest else ''}")
    return "\n\n".join(lines)


def _names_of(kind: Any) -> tuple[str, ...]:  # noqa: ANN401  (a Struct or one of its bases)
    names = getattr(kind, "__struct_fields__", ())
    return names if isinstance(names, tuple) else ()  # of Struct itself it is a descriptor


def _fields(part: Schema, parts: dict[str, Schema]) -> set[tuple[str, str]]:
    return {
        (name, _kind(field, parts))
        for name, field in part["properties"].items()
        if not _is_form(name, field)
    }


def _struct(kind: Any, parts: dict[str, Schema], without: set[str]) -> str:  # noqa: ANN401  (a Struct)
    drawn = _table(kind, parts, without)
    return f"{_sentence(kind)}\n\n{drawn}" if drawn else _sentence(kind)


def _value(name: str, parts: dict[str, Schema]) -> str:
    part = parts[name]
    rows = list(_rows(part, parts, _attributes(part.get("description", "")), set()))
    text = _prose(part.get("description", ""))
    return f"### {name}\n\n{text}\n\n{table(('field', 'is', 'meaning'), rows)}"


def _sentence(kind: Any) -> str:  # noqa: ANN401  (a Struct)
    return _prose(inspect.getdoc(kind) or "")


def _prose(docstring: str) -> str:
    """A docstring's text, without what it says of single fields."""
    text = re.split(r"\n\n?Attributes:\n", docstring, maxsplit=1)[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _attributes(docstring: str) -> dict[str, str]:
    """Field to meaning, of a docstring's `Attributes:`."""
    parts = re.split(r"\n\s*Attributes:\n", docstring, maxsplit=1)
    if len(parts) == 1:
        return {}
    lines = inspect.cleandoc(parts[1])
    found = re.findall(r"^(\w+): (.*?)(?=^\w+: |\Z)", lines, re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


def _table(kind: Any, parts: dict[str, Schema], without: set[str]) -> str:  # noqa: ANN401  (a Struct)
    told: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        told |= _attributes(inspect.cleandoc(base.__doc__ or ""))
    rows = list(_rows(parts[kind.__name__], parts, told, without))
    return table(("field", "is", "meaning"), rows) if rows else ""


def _rows(
    part: Schema, parts: dict[str, Schema], told: dict[str, str], without: set[str]
) -> Iterator[tuple[str, ...]]:
    required = set(part.get("required", ()))
    for name, field in part["properties"].items():
        if name in without or _is_form(name, field):
            continue
        kind = _kind(field, parts)
        if name not in required:
            default = field.get("default") or ""
            kind += f"; left out: {code(default)}" if default else "; may be left out"
        yield (code(name), kind, told.get(name, ""))


def _is_form(name: str, field: Schema) -> bool:
    """Whether a field only says of what kind and version a message is."""
    return name == "v" or (name == "type" and len(field.get("enum", ())) == 1)


def _kind(field: Schema, parts: dict[str, Schema]) -> str:
    """What a field is, in words."""
    if "$ref" in field:
        name = field["$ref"]
        part = parts[name]
        if "properties" not in part:
            return _kind(part, parts)
        return f"[{name}](#{part.get('place', name.lower())})"
    if "anyOf" in field:
        return " or ".join(_kind(one, parts) for one in field["anyOf"])
    if field.get("type") == "array":
        return _list(field, parts)
    if field.get("type") == "object":
        return f"by name: {_kind(field.get('additionalProperties', {}), parts)}"
    return _plain(field)


def _list(field: Schema, parts: dict[str, Schema]) -> str:
    if "prefixItems" in field:
        return f"a list of {', '.join(_kind(one, parts) for one in field['prefixItems'])}"
    items = field.get("items", {})
    return f"a list of {_kind(items, parts)}" if items is not False else "an empty list"


def _plain(field: Schema) -> str:
    if "enum" in field:
        values = ", ".join(map(code, field["enum"]))
        return f"one of {values}" if len(field["enum"]) > 1 else values
    match field.get("type"):
        case "integer":
            return f"a whole number{_range(field)}"
        case "number":
            return f"a number{_range(field)}"
        case "boolean":
            return "true or false"
        case "null":
            return "null"
    return _text(field)


def _text(field: Schema) -> str:
    if field.get("contentEncoding") == "base64":
        return "bytes in base64"
    if "description" in field:
        told = first_line(field["description"]).rstrip(".")
        return told[:1].lower() + told[1:]
    limit = f" of at most {field['maxLength']} characters" if "maxLength" in field else ""
    return f"text{limit}"


def _range(field: Schema) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    said = ""
    if low is not None:
        said += f" above {low}" if "exclusiveMinimum" in field else f" from {low}"
    if high is not None and high < LARGEST:
        said += f" to {high}"
    return said


# --- exit codes -----------------------------------------------------------------------------------


def exit_codes() -> str:
    """What every command may end with, and what verifying ends with besides."""
    by_code: dict[int, list[str]] = {}
    for error, number in CLI_EXIT_CODES:
        by_code.setdefault(number, []).append(f"{code(error.__name__)}: {_lower(error)}")
    rows = [("0", "done"), ("2", "wrong usage"), ("130", "Ctrl-C")]
    rows += [(str(number), "<br>".join(texts)) for number, texts in by_code.items()]
    every = table(("code", "any command"), sorted(rows, key=lambda row: int(row[0])))
    verdicts = [(str(number), verdict.value) for verdict, number in EXIT_CODES.items()]
    verdicts.append((str(EXIT_UNTRUSTED), "whole, but by a key, or against a rule, of `--trust`"))
    return f"{every}\n\n{table(('code', '`recorder verify`'), verdicts)}"


def _lower(kind: type) -> str:
    text = first_line(kind.__doc__).rstrip(".")
    return text[:1].lower() + text[1:]


PARTS: dict[str, Callable[[], str]] = {
    "subjects": subjects,
    "messages": messages,
    "exit-codes": exit_codes,
}
