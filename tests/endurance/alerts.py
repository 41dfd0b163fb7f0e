"""The alert rules of deploy/prometheus, evaluated on what the recorders' sidecars have said.

A small part of PromQL, as far as the rules use it: selectors, `increase` and `rate` over a window,
`sum`, `max` and `min` by labels, arithmetic and comparisons. As in Prometheus a series that begins
in the window has grown by nothing at its first value, and an alert fires once its expression has
held at every look for as long as `for` says.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
JOB = {"job": "session-recorder"}
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FOLDS: Mapping[str, Callable[[Iterable[float]], float]] = {"sum": sum, "max": max, "min": min}
ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
}

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Series = dict[tuple[str, Labels], float]


class Scrape(NamedTuple):
    """All values of one target at one moment; none of its own where it did not answer."""

    at_s: float
    values: Series


def scraped(text: str | None, at_s: float) -> Scrape:
    """What Prometheus would have stored; no text: the target did not answer."""
    values: Series = {("up", frozenset(JOB.items())): float(text is not None)}
    for family in text_string_to_metric_families(text or ""):
        for sample in family.samples:
            labels = frozenset((sample.labels | JOB).items())
            values[sample.name, labels] = sample.value
    return Scrape(at_s, values)


def seconds_of(text: str) -> float:
    """A duration as the rules have them: 10m."""
    return float(text[:-1]) * UNITS_S[text[-1]]


class Rules:
    """The rules, by name."""

    def __init__(self, file: Path = RULES) -> None:
        groups = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        self.records = {
            rule["record"]: promql_parser.parse(rule["expr"]) for rule in found if "record" in rule
        }
        self.alerts = {
            rule["alert"]: (promql_parser.parse(rule["expr"]), seconds_of(rule.get("for", "0s")))
            for rule in found
            if "alert" in rule
        }

    def holding(self, scrapes: Sequence[Scrape]) -> set[str]:
        """The alerts whose expression holds at the last scrape."""
        return {
            name for name, (wanted, _) in self.alerts.items() if Look(self, scrapes).vector(wanted)
        }


class Look:
    """One evaluation, at the last of some scrapes of one target."""

    def __init__(self, rules: Rules, scrapes: Sequence[Scrape]) -> None:
        self._rules = rules
        self._scrapes = scrapes

    def vector(self, wanted: Any) -> Vector:  # noqa: ANN401  (the parser's own)
        """The series that an expression gives."""
        if isinstance(wanted, promql_parser.ParenExpr):
            return self.vector(wanted.expr)
        if isinstance(wanted, promql_parser.VectorSelector):
            return self._selected(wanted)
        if isinstance(wanted, promql_parser.AggregateExpr):
            return self._folded(wanted)
        if isinstance(wanted, promql_parser.Call):
            return self._grown(wanted)
        if isinstance(wanted, promql_parser.BinaryExpr):
            return self._combined(wanted)
        raise NotImplementedError(f"no rule had such an expression until now: {wanted.prettify()}")

    def _selected(self, wanted: Any) -> Vector:  # noqa: ANN401  (as above)
        if wanted.name in self._rules.records:
            found = self.vector(self._rules.records[wanted.name])
            return {labels: value for labels, value in found.items() if _fits(wanted, labels)}
        return {
            labels: value
            for (name, labels), value in self._scrapes[-1].values.items()
            if name == wanted.name and _fits(wanted, labels)
        }

    def _folded(self, wanted: Any) -> Vector:  # noqa: ANN401  (as above)
        by = set(wanted.modifier.labels) if wanted.modifier is not None else set()
        groups: dict[Labels, list[float]] = {}
        for labels, value in self.vector(wanted.expr).items():
            kept = frozenset(pair for pair in labels if pair[0] in by)
            groups.setdefault(kept, []).append(value)
        fold = FOLDS[str(wanted.op)]
        return {labels: fold(values) for labels, values in groups.items()}

    def _grown(self, wanted: Any) -> Vector:  # noqa: ANN401  (as above)
        name = wanted.func.name
        if name == "histogram_quantile":
            return {}  # drawn on the dashboard; no alert asks for it
        window = wanted.args[0]
        range_s = window.range.total_seconds()
        selector, now_s = window.vector_selector, self._scrapes[-1].at_s
        seen: dict[Labels, list[float]] = {}
        for scrape in self._scrapes:
            if scrape.at_s <= now_s - range_s:
                continue
            for (found, labels), value in scrape.values.items():
                if found == selector.name and _fits(selector, labels):
                    seen.setdefault(labels, []).append(value)
        share = {"increase": 1.0, "rate": 1 / range_s}[name]
        return {labels: share * _growth(values) for labels, values in seen.items()}

    def _combined(self, wanted: Any) -> Vector:  # noqa: ANN401  (as above)
        left, right = self._side(wanted.lhs), self._side(wanted.rhs)
        sign = str(wanted.op)
        if isinstance(left, float):
            assert not isinstance(right, float), "a rule of two numbers"
            pairs = {labels: (left, value) for labels, value in right.items()}
        elif isinstance(right, float):
            pairs = {labels: (value, right) for labels, value in left.items()}
        else:
            pairs = {labels: (left[labels], right[labels]) for labels in left.keys() & right.keys()}
        if sign in COMPARISONS:
            return {labels: a for labels, (a, b) in pairs.items() if COMPARISONS[sign](a, b)}
        return {
            labels: ARITHMETIC[sign](a, b) for labels, (a, b) in pairs.items() if b or sign != "/"
        }

    def _side(self, wanted: Any) -> Vector | float:  # noqa: ANN401  (as above)
        if isinstance(wanted, promql_parser.NumberLiteral):
            return float(wanted.val)
        return self.vector(wanted)


def _fits(selector: Any, labels: Labels) -> bool:  # noqa: ANN401  (as above)
    have = dict(labels)
    return all(
        _matches(matcher, have.get(matcher.name, "")) for matcher in selector.matchers.matchers
    )


def _matches(matcher: Any, value: str) -> bool:  # noqa: ANN401  (as above)
    kind = matcher.op
    if kind in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual):
        return bool((value == matcher.value) == (kind == promql_parser.MatchOp.Equal))
    found = value in matcher.value.split("|")  # all regular expressions of the rules are such lists
    return bool(found == (kind == promql_parser.MatchOp.Re))


def _growth(values: Sequence[float]) -> float:
    """Of a counter, which begins anew where its process does."""
    return sum(new - old if new >= old else new for old, new in itertools.pairwise(values))
