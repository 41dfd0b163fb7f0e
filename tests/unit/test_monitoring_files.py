"""Alert rules and the dashboard speak of metrics that there are, and of what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]

from recorder_worker.bus.rights.stage_rights import WATCHED_STREAMS
from recorder_worker.bus.sessions.roster import SessionState
from recorder_worker.core.model import ClockState, EndReason, GapReason
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.service.observing.metrics import Metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
RULE_TESTS = ROOT / "deploy" / "prometheus" / "alerts_test.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "session-recorder.json"
RUNBOOK = ROOT / "docs" / "observability.md"

SCRAPED = {"job", "instance"}
"""Labels that Prometheus itself adds to everything."""
VALUES = {
    "stage": {stage.name for stage in CONSUMERS},
    "stream": set(WATCHED_STREAMS),
    "outcome": {"ok", "error", "exported", "failed", "dropped"},
    "direction": {"in", "out"},
}
STATES = {
    "recorder_sessions_known": {state.value for state in SessionState},
    "recorder_clock_state": {state.value for state in ClockState},
}
REASONS = {
    "recorder_gaps_total": {reason.value for reason in GapReason},
    "recorder_sessions_sealed_total": {reason.value for reason in EndReason},
}


def metrics() -> dict[str, set[str]]:
    """Every series that the product exposes, with its labels."""
    found: dict[str, set[str]] = {"up": set()}
    registry = Metrics(version="1", node="n").registry
    for name, collector in registry._names_to_collectors.items():
        labels = set(getattr(collector, "_labelnames", ()))
        kind = getattr(collector, "_type", "")
        if name.endswith("_bucket"):
            labels |= {"le"}
        if kind == "info":
            labels = {"version", "node"}
        found[name] = labels
    for family in registry.collect():
        if family.name.startswith("process_"):
            found |= {sample.name: set() for sample in family.samples}
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def selectors(expression: Any) -> Iterator[promql_parser.VectorSelector]:  # noqa: ANN401  (the parser's own)
    """All selectors of series in an expression, however deep."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
        return
    for name in ("vector_selector", "expr", "lhs", "rhs", "param"):
        below = getattr(expression, name, None)
        if isinstance(below, promql_parser.Expr):
            yield from selectors(below)
    for argument in getattr(expression, "args", None) or ():
        yield from selectors(argument)


def grouped_by(expression: Any) -> Iterator[str]:  # noqa: ANN401  (as above)
    """Labels that an aggregation keeps."""
    modifier = getattr(expression, "modifier", None)
    if isinstance(expression, promql_parser.AggregateExpr) and modifier is not None:
        yield from modifier.labels
    for name in ("expr", "lhs", "rhs"):
        below = getattr(expression, name, None)
        if isinstance(below, promql_parser.Expr):
            yield from grouped_by(below)
    for argument in getattr(expression, "args", None) or ():
        yield from grouped_by(argument)


def recorded_labels() -> dict[str, set[str]]:
    """What the recording rules add: their names, with the labels that they keep."""
    return {
        rule["record"]: set(grouped_by(promql_parser.parse(rule["expr"]))) - {"le"}
        for rule in rules()
        if "record" in rule
    }


KNOWN = metrics() | recorded_labels()
QUERIES = [
    *((rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()),
    *(
        (f"{panel['title']}-{target['refId']}", target["expr"].replace("$job", "session-recorder"))
        for panel in panels()
        for target in panel["targets"]
    ),
]


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_is_about_series_and_labels_that_there_are(where: str, query: str) -> None:
    parsed = promql_parser.parse(query)
    found = list(selectors(parsed))
    assert found, where
    kept = set[str]()
    for selector in found:
        assert selector.name in KNOWN, f"{where}: no metric {selector.name}"
        labels = KNOWN[selector.name] | SCRAPED
        kept |= labels
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, f"{where}: {selector.name} has no {matcher.name}"
            values = allowed(selector.name, matcher.name)
            for value in matcher.value.split("|"):
                assert values is None or value in values, f"{where}: {matcher.name}={value}"
    assert set(grouped_by(parsed)) <= kept, where


def allowed(metric: str | None, label: str) -> set[str] | None:
    if label == "state":
        return STATES[str(metric)]
    if label == "reason":
        return REASONS[str(metric)]
    return VALUES.get(label)


def test_the_parser_finds_every_metric_that_a_query_names() -> None:
    """Against a walk that misses a branch: a text search finds at least as much."""
    for where, query in QUERIES:
        named = set(re.findall(r"\brecorder[_:][a-z0-9_:]+", query))
        assert named == {s.name for s in selectors(promql_parser.parse(query))} - {
            "up",
            *(name for name in KNOWN if name.startswith("process_")),
        }, where


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = " ".join(query for _, query in QUERIES)
    for name, collector in Metrics(version="1", node="n").registry._names_to_collectors.items():
        exposed = name.startswith("recorder_") and name == getattr(collector, "_name", "")
        if exposed:
            assert name in shown, name


ALERTS = [rule for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_and_why_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Recorder[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    told = rule["annotations"]
    assert len(told["summary"]) > 15
    assert len(told["description"]) > 15
    file, _, anchor = told["runbook_url"].partition("#")
    assert ROOT / file == RUNBOOK
    assert anchor == rule["alert"].lower()
    sections = re.split(r"\n#+ ", RUNBOOK.read_text(encoding="utf-8"))
    [section] = [part for part in sections if part.startswith(f"{rule['alert']}\n")]
    assert len(section.split()) > 15, "a runbook says what to do"
    # A template that names a label which the expression does not keep shows nothing.
    by = set(grouped_by(promql_parser.parse(rule["expr"])))
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(told)))
    kept = by or set.union(
        *(KNOWN[str(s.name)] | SCRAPED for s in selectors(promql_parser.parse(rule["expr"])))
    )
    assert named <= kept, named - kept


def test_the_dashboard_has_its_data_source_from_a_variable_and_no_panel_on_another() -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert document["uid"] == "session-recorder"
    assert {one["name"] for one in document["templating"]["list"]} == {"datasource", "job"}
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of prometheus")
def test_the_rules_do_what_their_own_tests_say() -> None:
    for command in (["check", "rules", RULES.name], ["test", "rules", RULE_TESTS.name]):
        ended = subprocess.run(
            ["promtool", *command],
            cwd=RULES.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
