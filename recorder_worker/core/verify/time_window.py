"""Step 16: between which times a recording was made, as far as somebody else's clock shows it.

*Not before*: OPEN holds a time-stamp, which nobody can foresee; so OPEN was signed after it.
*Not after*: a receipt over a checkpoint of the log of sessions; so what that checkpoint reaches was
signed before it. Both count as proved only where the policy trusts who gave them. Where they
contradict each other it is an attack, if the policy trusts both: anybody can make a time-stamp that
says any time, so one that nobody vouches for condemns nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from recorder_worker.core.verify.receipts import Covers, Receipt, ReceiptsChecked

SECOND_NS = 1_000_000_000
TOLERANCE_NS = 60 * SECOND_NS
"""How far two trusted clocks may disagree. An accuracy in a token is optional, authorities without
one are seconds off, and whoever dates a recording back by less than a minute gains nothing."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """One side of the window: a time, nanoseconds since the Unix epoch, and who vouches for it."""

    t_ns: int
    by: str
    receipt: str


class WallClocks(msgspec.Struct, frozen=True, kw_only=True):
    """What the recorder's own clock said, nanoseconds since the Unix epoch."""

    open_ns: int
    seal_ns: int | None


class TimeWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What step 16 found.

    Attributes:
        not_before: the recording did not begin before.
        opened_by: OPEN existed by then.
        not_after: the recording had ended, and was sealed, by then.
        lines: what is proved, in sentences.
        failures: contradictions of two that the policy trusts: the recording is TAMPERED.
        warnings: other contradictions; a clock of the recorder that is outside of the window.
        not_proved: sentences on what is not proved, and why.
        broken_rules: rules of the policy that do not hold.
    """

    not_before: Bound | None
    opened_by: Bound | None
    not_after: Bound | None
    lines: tuple[str, ...]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    not_proved: tuple[str, ...]
    broken_rules: tuple[str, ...]

    @property
    def length_ns(self) -> int | None:
        """From not before to not after; None where a side is open.

        Where the clocks of the two disagree it is by how much: no time is known better than that.
        """
        if self.not_before is None or self.not_after is None:
            return None
        return abs(self.not_after.t_ns - self.not_before.t_ns)


def prove_window(
    checked: ReceiptsChecked,
    clocks: WallClocks,
    *,
    max_window_ns: int | None = None,
    require_receipt: bool = False,
) -> TimeWindow:
    """The window in which a recording was made.

    Args:
        checked: what step 15 found.
        clocks: the wall clock in OPEN and in SEAL.
        max_window_ns: the policy's rule, the longest window; None: no such rule.
        require_receipt: the policy's rule that the end is proved.
    """
    not_before = _bound(checked.beacon, latest=False)
    opened_by = _earliest(checked.receipts, Covers.OPEN, Covers.SEAL)
    not_after = _earliest(checked.receipts, Covers.SEAL)
    failures, doubts = _contradictions(checked)
    window = TimeWindow(
        not_before=not_before,
        opened_by=opened_by,
        not_after=not_after,
        lines=tuple(_lines(not_before, opened_by, not_after)),
        failures=tuple(failures),
        warnings=(*doubts, *_clock_warnings(clocks, not_before, opened_by, not_after)),
        not_proved=tuple(_not_proved(checked, opened_by, not_after)),
        broken_rules=(),
    )
    broken = tuple(_broken(window, max_window_ns=max_window_ns, require_receipt=require_receipt))
    return msgspec.structs.replace(window, broken_rules=broken)


def iso(t_ns: int) -> str:
    """A time as people read it: ISO 8601 in UTC, to the millisecond; digits where it has none."""
    try:
        moment = _EPOCH + timedelta(microseconds=t_ns // 1000)
    except OverflowError:
        return f"{t_ns} ns"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _bound(receipt: Receipt | None, *, latest: bool) -> Bound | None:
    if receipt is None or receipt.trusted_by is None:
        return None
    t_ns = receipt.latest_ns if latest else receipt.earliest_ns
    return Bound(t_ns=t_ns, by=f"{receipt.trusted_by} ({receipt.given_by})", receipt=receipt.name)


def _earliest(receipts: tuple[Receipt, ...], *covering: Covers) -> Bound | None:
    bounds = [_bound(r, latest=True) for r in receipts if r.covers in covering]
    return min((b for b in bounds if b is not None), key=lambda b: b.t_ns, default=None)


def _lines(not_before: Bound | None, opened_by: Bound | None, not_after: Bound | None) -> list[str]:
    lines = []
    if not_before is not None:
        lines.append(f"not before {iso(not_before.t_ns)}: time-stamp of {not_before.by} in OPEN")
    if opened_by is not None and opened_by != not_after:
        lines.append(f"begun by {iso(opened_by.t_ns)}: {opened_by.receipt} of {opened_by.by}")
    if not_after is not None:
        lines.append(f"not after {iso(not_after.t_ns)}: {not_after.receipt} of {not_after.by}")
    if not_before is not None and not_after is not None and not_before.t_ns <= not_after.t_ns:
        lines.append(f"a window of {(not_after.t_ns - not_before.t_ns) / SECOND_NS:.3f} s")
    return lines


def _contradictions(checked: ReceiptsChecked) -> tuple[list[str], list[str]]:
    """Receipts that are older than what OPEN holds: failures, and what is only a warning."""
    beacon = checked.beacon
    failures: list[str] = []
    doubts: list[str] = []
    for receipt in checked.receipts:
        if beacon is None:
            break
        off_ns = beacon.earliest_ns - receipt.latest_ns
        if off_ns <= 0:
            continue
        text = (
            f"{receipt.name}: it was given by {iso(receipt.latest_ns)}, before the time-stamp in "
            f"OPEN, of {iso(beacon.earliest_ns)}: a recording cannot be older than what it holds"
        )
        untrusted = [r for r in (beacon, receipt) if r.trusted_by is None]
        if untrusted:
            who = " and ".join(f"{r.name} ({r.given_by})" for r in untrusted)
            doubts.append(
                f"THE TIME-STAMPS CONTRADICT EACH OTHER: {text}; one of the two is false, and the "
                f"policy trusts nobody who vouches for {who}: name the authority in "
                "time_stamp_authorities to have this judged"
            )
        elif off_ns <= TOLERANCE_NS:
            doubts.append(
                f"THE AUTHORITIES' CLOCKS DISAGREE by {off_ns / SECOND_NS:.3f} s: {text}; up to "
                f"{TOLERANCE_NS // SECOND_NS} s are taken for clocks that are not exact"
            )
        else:
            failures.append(text)
    return failures, doubts


def _clock_warnings(
    clocks: WallClocks,
    not_before: Bound | None,
    opened_by: Bound | None,
    not_after: Bound | None,
) -> list[str]:
    warnings = []
    told = [("OPEN", clocks.open_ns, opened_by), ("SEAL", clocks.seal_ns, not_after)]
    for record, wall_ns, end in told:
        if wall_ns is None:
            continue
        if not_before is not None and wall_ns < not_before.t_ns:
            warnings.append(_off(record, wall_ns, "before", not_before))
        if end is not None and wall_ns > end.t_ns:
            warnings.append(_off(record, wall_ns, "after", end))
    return warnings


def _off(record: str, wall_ns: int, side: str, bound: Bound) -> str:
    off_s = abs(wall_ns - bound.t_ns) / SECOND_NS
    return (
        f"THE RECORDER'S CLOCK WAS WRONG: {record} says {iso(wall_ns)}, {off_s:.3f} s {side} "
        f"{iso(bound.t_ns)}, which {bound.by} proves; do not trust the times in the records"
    )


def _not_proved(
    checked: ReceiptsChecked, opened_by: Bound | None, not_after: Bound | None
) -> list[str]:
    said = []
    every = (*((checked.beacon,) if checked.beacon else ()), *checked.receipts)
    said += [
        f"{receipt.name}: {receipt.given_by} says {iso(receipt.time_ns)}, which is not proved: "
        f"{receipt.why_not}"
        for receipt in every
        if receipt.trusted_by is None
    ]
    if opened_by is not None and not_after is None:
        said.append("no receipt reaches the SEAL: when the recording ended is not proved")
    return said


def _broken(window: TimeWindow, *, max_window_ns: int | None, require_receipt: bool) -> list[str]:
    broken = []
    if require_receipt and window.not_after is None:
        broken.append("require_receipt: expected a receipt that proves the end, found none")
    if max_window_ns is not None:
        limit = f"max_window_s: expected at most {max_window_ns / SECOND_NS:g} s"
        if window.length_ns is None:
            broken.append(f"{limit}, found a window that is not closed on both sides")
        elif window.length_ns > max_window_ns:
            broken.append(f"{limit}, found {window.length_ns / SECOND_NS:.3f} s")
    return broken
