"""What is planted into good evidence, to see whether the checker finds it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faults.evidence import Evidence
from recorder_worker.core.subjects import Fact

Plant = Callable[[Evidence], None]


def copy_of(good: Evidence, folder: Path) -> Evidence:
    """To plant something in."""
    assert good.second is not None
    made = copy.deepcopy(good)
    made.folder, made.second = folder / "data", folder / "second"
    shutil.copytree(good.folder, made.folder)
    shutil.copytree(good.second, made.second)
    return made


def without(fact: Fact, which: Callable[[Any], bool] = lambda _: True) -> Plant:
    """Events that the streams lost."""

    def plant(found: Evidence) -> None:
        kept = [told for told in found.told if told.fact is not fact or not which(told.event)]
        assert len(kept) < len(found.told)
        found.told = kept

    return plant


def again(fact: Fact, **changes: Any) -> Plant:  # noqa: ANN401  (fields of an event)
    """The last event of a fact once more, perhaps with something changed in it."""

    def plant(found: Evidence) -> None:
        last = found.of(fact)[-1]
        event = msgspec.structs.replace(last.event, **changes)
        found.told.append(last._replace(sequence=last.sequence + 1, event=event))

    return plant


def instead(fact: Fact, **changes: Any) -> Plant:  # noqa: ANN401  (fields of an event)
    """The last event of a fact with something changed in it."""

    def plant(found: Evidence) -> None:
        last = found.of(fact)[-1]
        event = msgspec.structs.replace(last.event, **changes)
        found.told[found.told.index(last)] = last._replace(event=event)

    return plant


def stored(key: str, data: bytes = b"x") -> Plant:
    """A file that nobody should have written."""

    def plant(found: Evidence) -> None:
        path = found.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return plant


def changed(key: str, change: Callable[[bytes], bytes]) -> Plant:
    """A file that is not what it was."""

    def plant(found: Evidence) -> None:
        path = found.folder / key
        before = path.read_bytes()
        path.write_bytes(change(before))
        assert path.read_bytes() != before

    return plant


def removed(pattern: str) -> Plant:
    """Files that are gone."""

    def plant(found: Evidence) -> None:
        paths = [path for path in found.folder.glob(pattern) if path.is_file()]
        assert paths
        for path in paths:
            path.unlink()

    return plant


def in_second(plant: Plant) -> Plant:
    """The same in the second store."""

    def planted(found: Evidence) -> None:
        assert found.second is not None
        first, found.folder = found.folder, found.second
        plant(found)
        found.folder = first

    return planted


def each_of(planted: dict[str, tuple[Plant, ...]]) -> list[Any]:
    return [
        pytest.param(name, plant, id=f"{name}-{number}")
        for name, plants in planted.items()
        for number, plant in enumerate(plants, 1)
    ]
