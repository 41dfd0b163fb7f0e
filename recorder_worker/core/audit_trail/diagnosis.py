"""Why the bytes of a bundle are not those whose digest was entered: which event was touched.

The digest alone says that something is wrong. The numbers and links of the lines say where, unless
whoever changed them made all links anew: then it is somewhere in the bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from recorder_worker.core.audit_trail.bundle import split_lines
from recorder_worker.core.audit_trail.lines import line_sha256, parse_head, parse_line
from recorder_worker.core.errors import FormatError

SHOWN = 5
"""So many findings say enough."""


def diagnose(data: bytes, *, recorder: str, previous: bytes, numbers: range) -> list[str]:
    """What is wrong with a bundle that should hold the lines with these numbers."""
    try:
        first, *rest = split_lines(data)
    except FormatError as error:
        return [str(error)]
    findings = chain(_head(first, recorder, previous.hex(), numbers), _lines(first, rest, numbers))
    found = list(islice(findings, SHOWN))
    every = f"one of the events {numbers.start} to {numbers.stop - 1}"
    return found or [f"{every}, or the head, was changed, and all links were made anew"]


def _head(data: bytes, recorder: str, previous: str, numbers: range) -> Iterator[str]:
    try:
        head = parse_head(data)
    except FormatError as error:
        yield f"its head was changed: {error}"
        return
    if head.recorder != recorder:
        yield f"it is of another recorder: expected {recorder}, found {head.recorder}"
    if head.first != numbers.start:
        yield f"it is another bundle: expected event {numbers.start} first, found {head.first}"
    elif head.previous != previous:
        yield f"it is of another trail: expected to follow {previous}, it follows {head.previous}"


def _lines(head: bytes, texts: Sequence[bytes], numbers: range) -> Iterator[str]:
    """Numbers that are missing, out of place or too many; and links that do not hold."""
    seen: list[int] = []
    before = line_sha256(head)
    for place, text in enumerate(texts):
        try:
            line = parse_line(text)
        except FormatError as error:
            expected = numbers.start + place
            yield f"the line in the place of event {expected} was changed or inserted: {error}"
            seen.append(0)
        else:
            if line.after != before and line.n - 1 in {*seen[-1:], numbers.start - 1}:
                what = "the head" if line.n == numbers.start else f"event {line.n - 1}"
                yield f"{what} was changed: event {line.n} does not follow it"
            seen.append(line.n)
        before = line_sha256(text)
    yield from _places(seen, numbers)


def _places(seen: Sequence[int], numbers: range) -> Iterator[str]:
    counted = Counter(seen)
    if len(seen) < len(numbers):
        missing = [f"event {number}" for number in numbers if number not in counted][:SHOWN]
        yield f"missing: {', '.join(missing)}"
    newest = 0
    for number in filter(None, seen):
        if counted[number] > 1 or number not in numbers:
            yield f"inserted: a line that says it is event {number}"
        elif number < newest:
            yield f"reordered: event {number} stands behind event {newest}"
        newest = max(newest, number)
