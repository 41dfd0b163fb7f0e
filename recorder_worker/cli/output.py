"""How commands speak: results on stdout (text or JSON), everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from recorder_worker.core.errors import (
    BusUnavailableError,
    FormatError,
    PermanentError,
    RecorderError,
    RefusedError,
    SettingsError,
    StoreError,
    TopologyError,
)
from recorder_worker.core.printable import printable_lines

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs, instead of text.")
]

EXIT_CODES: tuple[tuple[type[RecorderError], int], ...] = (
    (RefusedError, 65),
    (FormatError, 65),
    (BusUnavailableError, 69),
    (TopologyError, 69),
    (StoreError, 74),
    (SettingsError, 78),
    (PermanentError, 65),
    (RecorderError, 1),
)
"""After sysexits.h: 65 bad data, 69 a service is not there, 74 input/output, 78 configuration."""


class SafeConsole(Console):
    """A console on which no text does anything: control characters come out as what they are.

    What is printed came from others: paths, labels, refusals. Rich takes out only some of them.
    """

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401  (Rich's own)
        """As Rich does."""
        super().print(
            *(printable_lines(o) if isinstance(o, str) else o for o in objects), **options
        )


out = SafeConsole(highlight=False, soft_wrap=True)
err = SafeConsole(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_json_line(value: object) -> None:
    """One line of a JSON stream on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def fail(error: RecorderError) -> int:
    """Say what is wrong; gives the exit code."""
    err.print(f"recorder: {error}", style="red" if err.is_terminal else None, markup=False)
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def fields(**values: Any) -> str:  # noqa: ANN401  (anything that has a text)
    """Name and value in two columns, a line each."""
    width = max(map(len, values))
    return "\n".join(
        f"{name.replace('_', ' '):<{width}}  {value}" for name, value in values.items()
    )


def columns(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of cells, set in columns that are as wide as need be: nothing is cut for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def size(count: int) -> str:
    """A number of bytes for people: 1.5 MiB."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def seconds(t_ns: int) -> str:
    """Nanoseconds as seconds with milliseconds."""
    return f"{t_ns / 1e9:.3f} s"
