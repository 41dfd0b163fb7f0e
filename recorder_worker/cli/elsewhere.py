"""Says where the chunks of a recording are that are not in its folder any more."""

from __future__ import annotations

from pathlib import Path

from recorder_worker.cli.output import err
from recorder_worker.core import keys
from recorder_worker.core.copy_marker import parse_marker
from recorder_worker.core.errors import FormatError


def say_where(folder: Path) -> None:
    """Of a folder in a data directory whose chunks were removed behind their copy; else nothing.

    It changes no verdict: what is known of a copy is signed by nobody.
    """
    whole = folder.resolve()
    try:
        marker = parse_marker((whole.parent.parent / keys.COPIES / whole.name).read_bytes())
    except (OSError, FormatError):
        return
    if marker.leaving:
        err.print(
            f"recorder: chunks of this recording were removed here; they are in {marker.location}: "
            f"`recorder fetch {whole.name}` brings all of it together in a folder of its own",
            markup=False,
        )
