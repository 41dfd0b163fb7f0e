"""A film's file while it is written: its name, its container, and how it is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import av

from recorder_worker.core.errors import RefusedError, StoreError

EXACT: Final = {"fflags": "+bitexact"}
"""Nothing random and no date: what is made of the same material again has the same bytes."""
INDEXED: Final = {"movflags": "+faststart", **EXACT}
"""The same, and the index stands in front."""

Form = TypeVar("Form")


def form_named(path: Path, forms: Mapping[str, Form], hint: str) -> Form:
    """The form of a film of this name; `forms` stand under endings. Raises RefusedError."""
    form = forms.get(path.suffix.lower())
    if form is None:
        raise RefusedError(
            field="OUT",
            expected=f"a name that ends in {endings(forms)}",
            got=path.name,
            hint=hint,
        )
    return form


def endings(forms: Mapping[str, object]) -> str:
    """Endings that a film's name may have, in words."""
    *others, last = forms
    return f"{', '.join(others)} or {last}"


class ContainerFile:
    """One film being written; a context manager. Leaving it before it is closed leaves a torn file.

    Raises:
        StoreError: the file cannot be written.
    """

    def __init__(self, path: Path, container: str, options: dict[str, str]) -> None:
        self._path = path
        with self._writing():
            self._container = av.open(str(path), "w", format=container, container_options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            with suppress(av.FFmpegError):
                self._container.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise StoreError(f"{self._path.name}: cannot be written: {error}") from error
