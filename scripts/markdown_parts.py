"""Pieces of Markdown that drawn parts of documents are made of."""

from __future__ import annotations

from collections.abc import Iterable

Rows = Iterable[tuple[str, ...]]


def table(head: tuple[str, ...], rows: Rows) -> str:
    """A Markdown table."""
    ruler = tuple("---" for _ in head)
    lines = [head, ruler, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in x) + " |" for x in lines
    )


def code(text: object) -> str:
    """Text in a code font; nothing where there is none."""
    return f"`{text}`" if str(text) else ""


def mermaid(lines: Iterable[str]) -> str:
    """A diagram that GitHub and others draw."""
    return "\n".join(["```mermaid", *lines, "```"])


def first_line(text: str | None) -> str:
    """The first line of a docstring."""
    return (text or "").strip().split("\n", 1)[0]
