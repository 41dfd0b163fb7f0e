"""What is drawn from settings and metrics: in operations.md, authorisation.md, the template."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from markdown_parts import code, table
from msgspec.inspect import StrType

from recorder_worker.core.access.identity import ROLES, Role
from recorder_worker.core.access.rules import ACTIONS
from recorder_worker.service.authorisation import access_rules
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.layers import variable_name
from recorder_worker.service.settings.rule import allowed, rules
from recorder_worker.service.settings.secrets import SUFFIX as SECRET_FILE
from recorder_worker.service.settings.tree import Settings

ROOT = Path(__file__).resolve().parents[1]


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


def roles_table() -> str:
    """What each role may do by the default settings, and with whose sessions."""
    rules = access_rules(Settings().auth)

    def cell(role: Role, action: str) -> str:
        if action not in rules.may[role]:
            return ""
        return "own" if role in rules.own_only else "all"

    rows = ((code(action), *(cell(role, action) for role in ROLES)) for action in ACTIONS)
    return table(("action", *map(code, ROLES)), rows)


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


FILES = {"config/env.session-recorder.template": env_template}
PARTS = {
    "docs/operations.md": {"settings": settings_table, "metrics": metrics_table},
    "docs/authorisation.md": {"roles": roles_table},
}
