"""The documents name what there is, and what there is stands in a document."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command

from recorder_worker.cli.main import app
from recorder_worker.cli.output import EXIT_CODES as CLI_EXIT_CODES
from recorder_worker.core.command_parsing import parse_command
from recorder_worker.core.sources.kinds import Source
from recorder_worker.core.subjects import DEAD, Command, Fact
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.layers import CONFIG_VARIABLE, variable_name
from recorder_worker.service.settings.rule import rules

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL = "\n".join(path.read_text(encoding="utf-8") for path in DOCS)


def commands_below(group: Any, above: str = "") -> dict[str, Any]:  # noqa: ANN401  (Typer's classes)
    """Every command by its words: `start`, `keys show`."""
    found: dict[str, Any] = {}
    for name, command in vars(group)["commands"].items():
        if "commands" in vars(command):
            found |= commands_below(command, f"{above}{name} ")
        else:
            found[f"{above}{name}"] = command
    return found


COMMANDS = commands_below(get_command(app))
GROUPS = {name.partition(" ")[0] for name in COMMANDS if " " in name}
FOLDERS = "benchmarks|config|demo|deploy|docs|examples|recorder_worker|schemas|scripts|tests"

documents = pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)


def fenced(text: str, *languages: str) -> Iterator[str]:
    """Each fenced block in one of the languages."""
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield body


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def commands_in(text: str) -> Iterator[list[str]]:
    """The words behind every `recorder` that a reader may type, in shell blocks and code font."""
    blocks = (block.replace("\\\n", " ") for block in fenced(text, "sh"))
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", prose(text).replace("\n", " "))
    for line in lines:
        words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 else line.split()
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words and words[0].rpartition("/")[2] == "recorder" and len(words) > 1:
            yield words[1:]


def options_of(command: Any) -> set[str]:  # noqa: ANN401  (Typer's classes are private)
    named = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return {name for name in named if name.startswith("-")} | {"--help", "-h"}


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


# --- what a document names is there --------------------------------------------------------------


@documents
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8")))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), f"{path.name}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path.name}: {link}"


@documents
def test_every_file_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*\w)", text):
        if name == "config/settings.local.yaml":
            continue
        assert (ROOT / name).exists(), f"{path.name} names {name}"


@documents
def test_every_recorder_command_and_option_exists(path: Path) -> None:
    for words in commands_in(path.read_text(encoding="utf-8")):
        name, *rest = words
        if name.startswith("-"):
            assert name in {"--version", "--help", "-h"}, f"{path.name}: recorder {name}"
            continue
        if name in GROUPS:
            if not rest:
                continue
            name, rest = f"{name} {rest[0]}", rest[1:]
        assert name in COMMANDS, f"{path.name}: recorder {' '.join(words)}"
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        unknown = given - options_of(COMMANDS[name])
        assert not unknown, f"{path.name}: recorder {' '.join(words)}: {unknown}"


@documents
def test_every_variable_is_a_setting(path: Path) -> None:
    known = {variable_name(rule) for rule in rules()} | {CONFIG_VARIABLE}
    known |= {f"{variable_name(path)}_FILE" for path, rule in rules().items() if rule.secret}
    named = set(re.findall(r"\bRECORDER_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    # What a container's own environment is for stands with the containers.
    assert named <= known, f"{path.name}: {named - known}"


@documents
def test_every_test_that_is_named_is_there(path: Path) -> None:
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in (
            file.stem,
            *re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8")),
        )
    }
    named = set(re.findall(r"\btest_\w+", path.read_text(encoding="utf-8")))
    assert named <= there, f"{path.name}: {named - there}"


@documents
def test_every_make_target_exists(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", prose(text))
    lines = [*spans, *(line for block in fenced(text, "sh") for line in block.splitlines())]
    named = {m[1] for line in lines if (m := re.match(r"(?:[A-Z]+=\S* )*make ([a-z0-9-]+)", line))}
    assert named <= targets, f"{path.name}: {named - targets}"


def test_every_log_event_that_is_named_is_logged() -> None:
    product = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "recorder_worker").rglob("*.py")
    )
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    logs = text.split("## Logs", 1)[1].split("\n## ", 1)[0]
    named = re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", logs)
    assert len(named) > 10
    for event in named:
        assert f'"{event}"' in product, event


# --- what is there stands in a document ----------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    reference = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    section = re.split(r"\n##+ ", reference.split(f"### recorder {name}\n", 1)[1])[0]
    for option in options_of(COMMANDS[name]) - {"--help", "-h", "-c"}:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", section), f"recorder {name} {option}"


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for path, rule in rules().items():
        assert f"`{rule.dotted}`" in text
        assert f"`{variable_name(path)}`" in text


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    families = Metrics(version="1", node="n").registry.collect()
    ours = [f for f in families if f.name.startswith("recorder_")]
    assert len(ours) > 10
    for family in ours:
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        assert f"`{family.name}{suffix}`" in text


@pytest.mark.parametrize("subject", [*Command, *Fact, DEAD], ids=str)
def test_every_subject_is_documented(subject: str) -> None:
    text = (ROOT / "docs" / "bus.md").read_text(encoding="utf-8")
    tables = text.split("## Subjects", 1)[1].split("\n## ", 1)[0]
    assert f"`{subject}`" in tables or f"`{subject}.<stage>`" in tables


def test_every_exit_code_is_documented() -> None:
    verify = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for verdict, code in EXIT_CODES.items():
        assert f"| {verdict} | {code} |" in verify
        assert verdict in readme
    assert f"| {EXIT_UNTRUSTED} |" in verify
    assert f"| {EXIT_UNTRUSTED} |" in readme
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for code in {code for _, code in CLI_EXIT_CODES} | {0, 2, 130}:
        assert f"\n| {code} | " in operations


def test_every_document_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in DOCS[1:]:
        assert f"(docs/{path.name})" in readme


# --- generated, runnable -------------------------------------------------------------------------


def test_diagrams_and_tables_are_what_the_program_runs_on() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "draw_diagrams.py"), "--check"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, (
        f"expected the drawn parts to be new, found old ones: {ended.stdout}{ended.stderr}"
        "run scripts/draw_diagrams.py"
    )


def test_every_json_example_is_a_command_of_its_heading() -> None:
    text = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    section = text.split("## Commands\n", 1)[1].split("\n## ", 1)[0]
    checked = 0
    for part in section.split("\n### ")[1:]:
        names = re.findall(r"session\.\w+", part.split("\n", 1)[0])
        for name, example in itertools.product(names, fenced(part, "json")):
            parse_command(Command(name), example.encode())
            checked += 1
    assert checked >= len(Command)
    sources = re.findall(r"`(\{\"kind\".*?\})`", section)
    text = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    for example in fenced(text, "json"):
        parse_command(Command.START, example.encode())
    assert len(sources) == len(get_args(Source))
    for source in sources:
        parse_command(Command.START, f'{{"source":{source}}}'.encode())


@documents
def test_every_python_example_compiles(path: Path) -> None:
    for number, block in enumerate(fenced(path.read_text(encoding="utf-8"), "python")):
        compile(block, f"{path.name}, example {number}", "exec")
