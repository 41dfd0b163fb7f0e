"""Sources whose frames come by themselves: what had come is recorded before what is asked for."""

from __future__ import annotations

from collections.abc import Callable

from recorder_worker.core.errors import SourceLostError, UnitsMissingError
from recorder_worker.ports import ArrivingSource, FrameSource


def drain(
    source: ArrivingSource,
    take: Callable[[ArrivingSource], bool],
    add: Callable[[], None],
    missing: Callable[[UnitsMissingError], None],
) -> None:
    """Let a source take nothing more, and record all that it has."""
    source.hold()
    while source.arrived(0):
        try:
            if take(source):
                add()
        except UnitsMissingError as error:
            missing(error)
        except SourceLostError:
            return  # whoever reads next is told again


def take_again(source: FrameSource | None) -> None:
    """Let an arriving source take what comes again."""
    if isinstance(source, ArrivingSource):
        source.go_on()
