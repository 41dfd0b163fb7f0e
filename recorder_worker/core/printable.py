"""Text of others, made safe to print: no terminal does what a recording or a client says."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line, with what is not printable spelt out as Python spells it in a string."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """As `printable`, with its line ends left as they are."""
    return "\n".join(map(printable, text.split("\n")))
