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
from collections.abc import Callable
from pathlib import Path

import drawn_commands
import drawn_pipeline
import drawn_reference
import drawn_rights
import drawn_settings
import log_catalogue
from markdown_parts import table

ROOT = Path(__file__).resolve().parents[1]

Draw = Callable[[], str]
FILES: dict[str, Draw] = drawn_settings.FILES
"""Whole files that are drawn."""

LOG_EVENTS = ("event", "level", "fields", "means")

PARTS: dict[str, dict[str, Draw]] = {
    **drawn_pipeline.PARTS,
    **drawn_settings.PARTS,
    **drawn_commands.PARTS,
    **drawn_rights.PARTS,
    "docs/observability.md": {"log events": lambda: table(LOG_EVENTS, log_catalogue.rows())},
    "docs/reference.md": drawn_reference.PARTS,
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
