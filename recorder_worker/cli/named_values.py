"""What stands behind `--mask` and `--label`: rectangles, and texts by name."""

from __future__ import annotations

import re

from recorder_worker.core.errors import RefusedError

_NUMBER = re.compile(r" *[0-9]{1,9} *")


def rectangle_of(option: str, text: str) -> dict[str, int]:
    """The rectangle that X,Y,WIDTH,HEIGHT names. Raises RefusedError."""
    names = ("x", "y", "width", "height")
    parts = text.split(",")
    if len(parts) != len(names) or not all(map(_NUMBER.fullmatch, parts)):
        raise RefusedError(
            field=option, expected="X,Y,WIDTH,HEIGHT", got=text, hint="four numbers of pixels"
        )
    return {name: int(part) for name, part in zip(names, parts, strict=True)}


def label_of(text: str) -> tuple[str, str]:
    """Name and text of KEY=VALUE. Raises RefusedError."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise RefusedError(field="--label", expected="KEY=VALUE", got=text, hint="put a = in it")
    return key, value
