"""What a mark says, in words: those of the recorder's own, and those of clients.

Bodies come from a bus or a folder. One that is not as it should be is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final

import msgspec

from recorder_worker.core import notes
from recorder_worker.core.commands import MarkSession
from recorder_worker.core.load.words import WHY
from recorder_worker.core.model import Mask
from recorder_worker.core.packets.film import Jump
from recorder_worker.core.printable import printable
from recorder_worker.core.quality.conditions import QualityChange

MAX_WORDS: Final = 300
"""Characters of what is shown of one mark."""
_MASKS_SHOWN: Final = 8
_TICK: Final = re.compile(r"([0-9]{1,10})/([0-9]{1,10})")

_NOT_READABLE: Final = (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError)

_MARK_SESSION = msgspec.json.Decoder(MarkSession)
_MASKS_CHANGED = msgspec.json.Decoder(notes.MasksChanged)
_RATE_CHANGED = msgspec.json.Decoder(notes.RateChanged)
_ARMED = msgspec.json.Decoder(notes.Armed)
_QUALITY_CHANGE = msgspec.json.Decoder(QualityChange)
_JUMP = msgspec.json.Decoder(Jump)


def mark_words(kind: str, body: bytes | str) -> str:
    """One printable line of at most `MAX_WORDS` characters; empty where a mark says nothing."""
    try:
        words = _WORDS.get(kind, _of_client)(body)
    except _NOT_READABLE:
        words = body.decode(errors="replace") if isinstance(body, bytes) else body
    line = printable(words[: MAX_WORDS + 1])
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "…"


def masks_words(masks: Sequence[Mask], count: int) -> str:
    """The first of `count` rectangles, and how many more there are."""
    shown = masks[:_MASKS_SHOWN]
    words = [f"{mask.width}x{mask.height} at {mask.x},{mask.y}" for mask in shown]
    return "; ".join([*words, *([f"{count - len(shown)} more"] * (count > len(shown)))])


def _of_client(body: bytes | str) -> str:
    said = _MARK_SESSION.decode(body)
    return ", ".join([said.text] * bool(said.text) + [f"{k}={v}" for k, v in said.data.items()])


def _masks(body: bytes | str) -> str:
    said = _MASKS_CHANGED.decode(body)
    asked = f", asked by {said.by}" if said.by else ""
    if not said.masks:
        return f"nothing is blacked out any more{asked}"
    return f"blacked out: {masks_words(said.masks, len(said.masks))}{asked}"


def _rate(body: bytes | str) -> str:
    said = _RATE_CHANGED.decode(body)
    rates = f"from {said.from_fps:g} to {said.to_fps:g} frames a second"
    if said.to_fps > said.from_fps:
        return f"raised {rates}: {said.detail}"
    return f"lowered {rates}, for {WHY[said.reason]}: {said.detail}"


def _armed(body: bytes | str) -> str:
    said = _ARMED.decode(body)
    return (
        f"waits for a mark of type trigger; keeps the last {said.pre_record_s:g} s in memory, at "
        f"most {said.max_bytes} bytes"
    )


def _quality(body: bytes | str) -> str:
    said = _QUALITY_CHANGE.decode(body)
    since = "since" if said.state.value == "begun" else "not seen since"
    return f"{said.condition.value} {said.state.value}, {since} {said.since_ns / 1e9:.3f} s"


def _timestamps(body: bytes | str) -> str:
    said = _JUMP.decode(body)
    if said.what == "silence":
        return f"the source sent nothing for {said.waited_ns / 1e9:.3f} s"
    tick = _TICK.fullmatch(said.tick)  # `Fraction` alone would compute 1e999999999
    if tick is None:
        raise ValueError(said.tick)
    by_s = float(Fraction(int(tick[1]), int(tick[2])) * (said.after - said.before))
    return f"the source's times jumped {said.what} by {abs(by_s):.3f} s"


_WORDS: Final[dict[str, Callable[[bytes | str], str]]] = {
    notes.MASKS: _masks,
    notes.RATE: _rate,
    notes.ARMED: _armed,
    notes.QUALITY: _quality,
    notes.TIMESTAMPS: _timestamps,
}
