"""docs/reference.md: whatever has a name on the bus, or is a way to end, stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recorder_worker.bus.codec import FACT_TYPES
from recorder_worker.bus.streams.topology import COMMANDS_STREAM, STREAM_OF
from recorder_worker.cli.output import EXIT_CODES as CLI_EXIT_CODES
from recorder_worker.core.command_parsing import COMMAND_TYPES
from recorder_worker.core.pipeline import CONSUMERS, SERVICES
from recorder_worker.core.subjects import DEAD, Command, Endpoint, Fact
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED

TEXT = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")


def row(subject: str) -> list[str]:
    (line,) = re.findall(rf"^\| `{re.escape(subject)}` \|.*$", TEXT, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")[1:-1]]


def section(subject: str) -> str:
    return TEXT.split(f"\n### {subject}\n", 1)[1].split("\n### ", 1)[0]


@pytest.mark.parametrize("command", Command)
def test_a_command_has_its_row(command: Command) -> None:
    _, stream, published, taken, schema, _ = row(command)
    assert (stream, published) == (f"`{COMMANDS_STREAM}`", "clients")
    assert taken == ", ".join(f"`{s.name}`" for s in CONSUMERS if command in s.consumes) != ""
    assert schema == f"[{command}](../schemas/{command}.json)"


@pytest.mark.parametrize("fact", Fact)
def test_a_fact_has_its_row(fact: Fact) -> None:
    _, stream, published, taken, *_ = row(fact.wildcard)
    assert stream == f"`{STREAM_OF[fact]}`"
    tellers = [f"`{s.name}`" for s in (*CONSUMERS, *SERVICES) if fact in s.emits]
    assert published == (", ".join(tellers) or "the recorder")
    assert taken == ", ".join(f"`{s.name}`" for s in CONSUMERS if fact.wildcard in s.consumes)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_a_request_has_its_row_and_its_messages(endpoint: Endpoint) -> None:
    assert row(endpoint)[1:3] == ["clients", "gateway"]
    for part in ("request", "answer"):
        assert section(f"{endpoint}.{part}")


def test_dead_letters_have_their_row() -> None:
    assert "every stage" in row(f"{DEAD}.*")


@pytest.mark.parametrize("subject", [*Command, *Fact], ids=str)
def test_every_field_of_a_message_is_told(subject: Command | Fact) -> None:
    told = section(subject)
    kind = COMMAND_TYPES[subject] if isinstance(subject, Command) else FACT_TYPES[subject]
    for member in getattr(kind, "__args__", None) or (kind,):
        for field in member.__struct_fields__:
            assert field == "v" or f"\n| `{field}` | " in told, f"{member.__name__}.{field}"
    assert "| `type` | " in section("session.mark"), "a field of its own, not the kind"


def test_every_exit_code_is_told() -> None:
    codes = TEXT.split("\n## Exit codes\n", 1)[1]
    wanted = {code for _, code in CLI_EXIT_CODES} | {0, 2, 130, EXIT_UNTRUSTED}
    for code in wanted | set(EXIT_CODES.values()):
        assert f"\n| {code} | " in codes
    for verdict in EXIT_CODES:
        assert f" | {verdict} |" in codes
