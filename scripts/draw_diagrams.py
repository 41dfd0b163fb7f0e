#!/usr/bin/env python3
"""Draws the generated parts of the documents, from the tables that the program itself runs on.

    .venv/bin/python scripts/draw_diagrams.py            write them
    .venv/bin/python scripts/draw_diagrams.py --check    exit 1 where a document is not up to date

A part stands between `<!-- drawn: NAME -->` and `<!-- end: NAME -->`; what is written there by hand
is lost. The text around the parts is nobody's but the author's.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import drawn_reference
import log_catalogue
from markdown_parts import code, first_line, mermaid, table
from msgspec.inspect import StrType
from nats.js.api import StreamConfig
from typer.main import get_command

from recorder_worker.bus.consumers import Consumer, consumers
from recorder_worker.bus.disposition import DISPOSITIONS
from recorder_worker.bus.permissions import grants
from recorder_worker.bus.stage_rights import watching, workers
from recorder_worker.bus.topology import streams
from recorder_worker.cli.main import app
from recorder_worker.core.access import ACTIONS
from recorder_worker.core.identity import ROLES, Role
from recorder_worker.core.lifecycle import TRANSITIONS, State
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.core.subjects import Command
from recorder_worker.service import policies
from recorder_worker.service.authorisation import access_rules
from recorder_worker.service.metrics import Metrics
from recorder_worker.service.nats_conf import token_lists
from recorder_worker.service.settings_rule import allowed, rules
from recorder_worker.service.settings_secrets import SUFFIX as SECRET_FILE
from recorder_worker.service.settings_source import variable_name
from recorder_worker.service.settings_tree import AuthSettings, Settings

ROOT = Path(__file__).resolve().parents[1]

# --- docs/architecture.md -------------------------------------------------------------------------


def stages() -> str:
    """The stages, who feeds whom, and what clients see of it."""
    lines = ["flowchart LR", "  clients([clients])"]
    consumed: set[str] = set()
    for stage in CONSUMERS:
        lines.append(f"  {stage.name}[{stage.name}]")
        commands = [str(subject) for subject in stage.consumes if subject in set(Command)]
        if commands:
            lines.append(f'  clients -->|"{"<br>".join(commands)}"| {stage.name}')
        for other in CONSUMERS:
            fed = [f.wildcard for f in other.emits if f.wildcard in stage.consumes]
            consumed.update(fed)
            lines += [f'  {other.name} -->|"{subject}"| {stage.name}' for subject in fed]
    lines.append("  facts([facts, for clients and for the log])")
    for stage in CONSUMERS:
        rest = [fact.value for fact in stage.emits if fact.wildcard not in consumed]
        if rest:
            lines.append(f'  {stage.name} -.->|"{"<br>".join(rest)}"| facts')
    head = ("stage", "consumes", "does", "publishes", "order")
    rows = (
        (
            stage.name,
            ", ".join(map(code, map(str, stage.consumes))),
            stage.does,
            ", ".join(code(fact.value) for fact in stage.emits),
            stage.order,
        )
        for stage in CONSUMERS
    )
    return f"{mermaid(lines)}\n\n{table(head, rows)}"


def states() -> str:
    """The life of a session."""
    goes_on = {at for at, _ in TRANSITIONS}
    lines = ["stateDiagram-v2", f"  [*] --> {next(iter(State)).value}"]
    lines += [f"  {at.value} --> {to.value}: {why.value}" for (at, why), to in TRANSITIONS.items()]
    lines += [f"  {state.value} --> [*]" for state in State if state not in goes_on]
    return mermaid(lines)


# --- docs/bus.md ----------------------------------------------------------------------------------


def stream_table() -> str:
    """The streams, as the default settings declare them."""

    def row(stream: StreamConfig) -> tuple[str, ...]:
        copies = f"{stream.num_replicas} copy"
        kept = f"{stream.max_age:.0f} s, {stream.max_bytes} bytes, {copies}"
        if not stream.max_age:
            kept = f"for ever, the newest {stream.max_msgs} messages, {copies}"
        denied = [n for n in ("deny_delete", "deny_purge") if getattr(stream, n)]
        subjects = ", ".join(map(code, stream.subjects or ()))
        return (code(stream.name), subjects, kept, ", ".join(map(code, denied)))

    limits = policies.bus_settings(Settings(), "node", ()).streams
    return table(("stream", "subjects", "keeps", "forbids"), map(row, streams(limits)))


def consumer_table() -> str:
    """The durable consumers, as the default settings declare them."""

    def row(consumer: Consumer) -> tuple[str, ...]:
        config = consumer.config
        filters = config.filter_subjects or [config.filter_subject or ""]
        return (
            code(config.durable_name),
            code(consumer.stream),
            ", ".join(map(code, filters)),
            f"{config.ack_wait:g} s",
            str(config.max_ack_pending),
            "no limit" if config.max_deliver == -1 else str(config.max_deliver),
        )

    limits = policies.bus_settings(Settings(), "node", ()).consumers
    head = ("consumer", "stream", "filter", "ack wait", "max ack pending", "deliveries")
    return table(head, map(row, consumers(limits).values()))


FOREIGN = {
    "MsgspecError": "The message is not an event of its subject's schema.",
    "UnicodeDecodeError": "The message is not text.",
    "Exception": "Anything else: a defect of ours.",
}
"""What errors mean here that are not ours to describe."""


def dispositions() -> str:
    """What becomes of a message whose handler raised."""
    rows = (
        (
            code(kind.__name__),
            FOREIGN.get(kind.__name__) or first_line(kind.__doc__),
            verdict.value,
        )
        for kind, verdict in DISPOSITIONS
    )
    return table(("raised", "means", "what happens"), rows)


# --- docs/operations.md ---------------------------------------------------------------------------


def settings_table() -> str:
    """Every setting; what it means is the comment beside it in the settings file."""
    meaning = dict(_comments((ROOT / "config" / "settings.yaml").read_text(encoding="utf-8")))
    rows = []
    for rule in rules().values():
        default = (
            ", ".join(map(str, rule.default)) if isinstance(rule.default, tuple) else rule.default
        )
        text = meaning[rule.dotted]
        if not isinstance(rule.kind, StrType) or rule.kind.pattern:
            text += f" Allowed: {allowed(rule.kind)}."
        rows.append((code(rule.dotted), code(variable_name(rule.path)), code(default), text))
    return table(("setting", "variable", "default", "meaning"), rows)


def _comments(text: str) -> Iterator[tuple[str, str]]:
    """Dotted key and the comment above it, of a settings file with at most one level of groups."""
    group, comment = "", ""
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("#"):
            comment += f" {words[1:].strip()}"
            continue
        key, sign, value = words.partition(":")
        if sign and not value and not line.startswith(" "):
            group = key
        elif sign:
            yield (f"{group}.{key}" if line.startswith(" ") else key), comment.strip()
        comment = ""


def metrics_table() -> str:
    """Every metric of our own; `process_…` come from the Prometheus library."""
    found = Metrics(version="", node="")
    rows = []
    for name, metric in found.registry._names_to_collectors.items():  # noqa: SLF001  (labels are nowhere else)
        described = getattr(metric, "_type", "")
        if name != _exposed(metric):
            continue
        labels = ", ".join(map(code, getattr(metric, "_labelnames", ())))
        if described == "info":
            labels = "`version`, `node`"
        rows.append((code(name), described, labels, str(getattr(metric, "_documentation", ""))))
    return table(("metric", "type", "labels", "meaning"), rows)


def _exposed(metric: object) -> str:
    """The one name, of those that a collector claims, under which people look for it."""
    suffix = {"counter": "_total", "info": "_info"}.get(getattr(metric, "_type", ""), "")
    return f"{getattr(metric, '_name', '')}{suffix}"


# --- docs/observability.md ------------------------------------------------------------------------


def log_event_table() -> str:
    """Every event that is logged."""
    return table(("event", "level", "fields", "means"), log_catalogue.rows())


# --- docs/authorisation.md ------------------------------------------------------------------------


def roles_table() -> str:
    """What each role may do by the default settings, and with whose sessions."""
    rules = access_rules(Settings().auth)

    def cell(role: Role, action: str) -> str:
        if action not in rules.may[role]:
            return ""
        return "own" if role in rules.own_only else "all"

    rows = ((code(action), *(cell(role, action) for role in ROLES)) for action in ACTIONS)
    return table(("action", *map(code, ROLES)), rows)


# --- docs/clients.md ------------------------------------------------------------------------------


SHARED = ("--nats", "--config", "--json")
"""Options that many commands have; they are described by hand, once."""


def cli_reference() -> str:
    """Every command of `recorder` with its arguments and options."""
    return "\n\n".join(_command(name, command) for name, command in _commands(get_command(app)))


def _commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  (as below)
    """Every command by its words: `start`, `keys show`."""
    for name, command in vars(group)["commands"].items():
        if "commands" in vars(command):
            yield from _commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def _command(name: str, command: Any) -> str:  # noqa: ANN401  (Typer's classes are private)
    params = [p for p in command.params if "--help" not in p.opts]
    arguments = [p for p in params if p.param_type_name == "argument"]
    options = [p for p in params if p.param_type_name == "option"]
    shared = [f"[{option}]" for option in SHARED if any(option in p.opts for p in options)]
    usage = " ".join(["recorder", name, *map(_usage, arguments), *shared])
    rows = [(code(_name(p)), first_line(p.help)) for p in arguments]
    rows += [
        (", ".join(map(code, [*p.opts, *p.secondary_opts])), first_line(p.help))
        for p in options
        if not set(SHARED) & set(p.opts)
    ]
    said = " ".join(first_line(command.help).split())
    parts = [f"### recorder {name}", said, f"```\n{usage}\n```"]
    return "\n\n".join([*parts, table(("argument or option", "meaning"), rows)] if rows else parts)


def _name(argument: Any) -> str:  # noqa: ANN401  (Typer's parameter classes are private)
    return str(argument.metavar or argument.name.upper())


def _usage(argument: Any) -> str:  # noqa: ANN401  (Typer's parameter classes are private)
    shown = f"{_name(argument)}…" if argument.nargs == -1 else _name(argument)
    return shown if argument.required else f"[{shown}]"


# --- docs/nats.md ---------------------------------------------------------------------------------


def grant_table() -> str:
    """The users, and what each may do; a client stands for all of them."""
    client = "name"
    tokens = token_lists(AuthSettings(mode="jwt", jwks_bucket="KEYS"))
    everybody = ("every worker", "metrics, health, `/status`", "", "", _jetstream(watching()))
    rows: list[tuple[str, ...]] = [everybody]
    for grant in grants([client], tokens=tokens):
        told = [subject for subject in grant.asks if not subject.startswith("$JS.")]
        everybodys = watching() if grant.user in workers() else ()
        more = _jetstream(subject for subject in grant.asks if subject not in everybodys)
        user = "NAME" if grant.user == client else grant.user
        heard = _codes((*grant.hears, *grant.serves))
        cells = (code(user), grant.does, _codes((*told, *grant.calls)), heard, more)
        rows.append(tuple(cell.replace(f"client.{client}.", "client.NAME.") for cell in cells))
    return table(("user", "for", "publishes", "hears", "asks JetStream for"), rows)


JETSTREAM_RIGHTS = (
    ("the newest of", r"\$JS\.API\.DIRECT\.GET\.[^.]+\.(.+)"),
    ("all of", r"\$JS\.API\.DIRECT\.GET\.([^.]+)"),
    ("all of, from the leader,", r"\$JS\.API\.STREAM\.MSG\.GET\.(.+)"),
    ("the state of", r"\$JS\.API\.STREAM\.INFO\.(.+)"),
    ("what waits for", r"\$JS\.API\.CONSUMER\.INFO\.[A-Z]+\.(.+)"),
    ("messages of the consumers", r"\$JS\.API\.CONSUMER\.MSG\.NEXT\.[A-Z]+\.(.+)"),
    ("making and changing", r"\$JS\.API\.STREAM\.CREATE\.(.+)"),
    ("making and changing the consumers", r"\$JS\.API\.CONSUMER\.DURABLE\.CREATE\.[A-Z]+\.(.+)"),
)
"""What the subjects of JetStream's API mean, in words."""


def _jetstream(asks: Iterable[str]) -> str:
    asked = tuple(asks)
    said = []
    for words, pattern in JETSTREAM_RIGHTS:
        found = [match[1] for subject in asked if (match := re.fullmatch(pattern, subject))]
        names = [name for name in found if name != ">"]  # of a stream that is named besides
        if names:
            said.append(f"{words} {_codes(names)}")
    return "; ".join(said)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(code, dict.fromkeys(names)))


# --- config/env.session-recorder.template ---------------------------------------------------------

ENV_HEAD = """\
# Every setting of the recorder as a variable, with its default. Copy it, uncomment what you change,
# and give it to `docker run --env-file`, compose, or systemd (EnvironmentFile). Variables win
# over settings.yaml. A secret is better given in a file of its own, whose path stands in the
# variable with _FILE; not both. `recorder config` shows what is in force, and from where.
# Written by scripts/draw_diagrams.py.
"""


def env_template() -> str:
    """Every variable with its comment, none of them set."""
    meaning = dict(_comments((ROOT / "config" / "settings.yaml").read_text(encoding="utf-8")))
    lines = [ENV_HEAD]
    group = ""
    for rule in rules().values():
        if len(rule.path) > 1 and rule.path[0] != group:
            group = rule.path[0]
            lines.append(f"# --- {group} ---\n")
        lines += (f"# {line}" for line in textwrap.wrap(meaning[rule.dotted], 98))
        lines.append(f"#{variable_name(rule.path)}={_env_value(rule.default)}")
        if rule.secret:
            lines.append(f"#{variable_name(rule.path)}{SECRET_FILE}=")
        lines.append("")
    return "\n".join(lines)


def _env_value(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


FILES: dict[str, Callable[[], str]] = {"config/env.session-recorder.template": env_template}
"""Whole files that are drawn."""

PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/architecture.md": {"stages": stages, "states": states},
    "docs/bus.md": {
        "streams": stream_table,
        "consumers": consumer_table,
        "dispositions": dispositions,
    },
    "docs/operations.md": {"settings": settings_table, "metrics": metrics_table},
    "docs/authorisation.md": {"roles": roles_table},
    "docs/clients.md": {"commands": cli_reference},
    "docs/observability.md": {"log events": log_event_table},
    "docs/reference.md": drawn_reference.PARTS,
    "docs/nats.md": {"grants": grant_table},
}


def drawn(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """A document with its parts drawn anew. Raises ValueError where it has no place for one."""
    for name, draw in parts.items():
        place = re.compile(rf"(<!-- drawn: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
        if len(place.findall(text)) != 1:
            raise ValueError(f"expected one part `{name}`, found {len(place.findall(text))}")
        body = draw()
        text = place.sub(lambda found, body=body: f"{found[1]}\n{body}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


def main(arguments: list[str]) -> int:
    """Write or check all documents; gives the exit code."""
    late = []
    for name, parts in PARTS.items():
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = drawn(before, parts)
        if before != after:
            late.append(name)
            if "--check" not in arguments:
                path.write_text(after, encoding="utf-8")
    for name, draw in FILES.items():
        path = ROOT / name
        text = draw()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            late.append(name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    for name in late:
        sys.stdout.write(f"{name}\n")
    return 1 if late and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
