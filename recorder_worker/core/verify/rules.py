"""The rules of a policy: what somebody asks of a recording beyond that it is whole.

They are judged apart from integrity. A rule is held only where what it asks for is shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.core.printable import printable
from recorder_worker.core.records.leaves import AnyRecord, EpochRecord, GapRecord, OpenRecord
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey
from recorder_worker.core.verify.policy import Rules
from recorder_worker.core.verify.report import Cadence, RuleResult

SECOND_NS = 10**9


class RulesCheck:
    """Takes the records in order, and then what the steps found."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._longest_gap = (0, 0)
        self._reasons: dict[str, int] = {}
        self._weak: int | None = None

    @property
    def max_window_ns(self) -> int | None:
        """The longest window of time that is allowed."""
        limit_s = self._rules.max_window_s
        return None if limit_s is None else round(limit_s * SECOND_NS)

    def feed(self, record: AnyRecord) -> None:
        """One more record."""
        match record:
            case GapRecord():
                length_ns = record.span.t1_ns - record.span.t0_ns
                self._longest_gap = max(self._longest_gap, (length_ns, record.index))
                self._reasons.setdefault(record.reason.value, record.index)
            case OpenRecord():
                self._hold(record.index, record.device_keys)
                self._hold(record.index, record.epoch_keys)
            case EpochRecord():
                self._hold(record.index, record.keys)
            case _:
                pass

    def _hold(self, index: int, keys: tuple[PublicKey, ...]) -> None:
        if self._weak is None and KeyKind.ML_DSA_44 not in {key.kind for key in keys}:
            self._weak = index

    def finish(
        self,
        *,
        logged: str | None,
        cadence: Cadence | None,
        window: tuple[str, ...],
        broken: tuple[str, ...],
    ) -> tuple[RuleResult, ...]:
        """What became of every rule that the policy has.

        Args:
            logged: why the session's entries in the log are not proved; None: they are.
            cadence: how often was signed; None: what is here does not show that.
            window: what is proved of the time, in sentences.
            broken: the rules about time that are broken, each with its name in front.
        """
        found = (
            *self._of_records(),
            *self._of_log(logged),
            *self._of_cadence(cadence),
            *self._of_time(window, broken),
        )
        return tuple(
            RuleResult(rule=rule, held=held, detail=printable(detail))
            for rule, held, detail in found
        )

    def _of_records(self) -> Iterator[tuple[str, bool, str]]:
        rules = self._rules
        if rules.max_gap_s is not None:
            length_ns, index = self._longest_gap
            yield (
                "max_gap_s",
                length_ns <= rules.max_gap_s * SECOND_NS,
                f"at most {rules.max_gap_s:g} s; the longest gap has {length_ns / SECOND_NS:.3f} s"
                + (f" (record {index})" if length_ns else ""),
            )
        if rules.allowed_gap_reasons is not None:
            others = {
                reason: index
                for reason, index in self._reasons.items()
                if reason not in set(map(str, rules.allowed_gap_reasons))
            }
            found = ", ".join(f"{reason} (record {index})" for reason, index in others.items())
            yield "allowed_gap_reasons", not others, f"others: {found or 'none'}"
        if rules.require_ml_dsa_44:
            weak = self._weak
            detail = "every set of keys has one" if weak is None else f"none in record {weak}"
            yield "require_ml_dsa_44", weak is None, detail

    def _of_log(self, logged: str | None) -> Iterator[tuple[str, bool, str]]:
        if self._rules.require_log_proof:
            yield "require_log_proof", logged is None, logged or "begin and end are in the log"

    def _of_cadence(self, cadence: Cadence | None) -> Iterator[tuple[str, bool, str]]:
        limit_s = self._rules.max_checkpoint_interval_s
        if limit_s is None:
            return
        if cadence is None:
            yield "max_checkpoint_interval_s", False, "what is here does not show it"
            return
        longest_s = cadence.longest_ns / SECOND_NS
        # Signed times are whole seconds: up to one of them was not really there.
        yield (
            "max_checkpoint_interval_s",
            longest_s - 1 <= limit_s,
            f"at most {limit_s:g} s; the longest time without one was {longest_s:.1f} s",
        )

    def _of_time(
        self, window: tuple[str, ...], broken: tuple[str, ...]
    ) -> Iterator[tuple[str, bool, str]]:
        asked = {
            "require_receipt": bool(self._rules.require_receipt),
            "max_window_s": self._rules.max_window_s is not None,
        }
        for rule in (name for name, wanted in asked.items() if wanted):
            text = next((t for t in broken if t.startswith(f"{rule}:")), None)
            yield rule, text is None, text.partition(": ")[2] if text else "; ".join(window)
