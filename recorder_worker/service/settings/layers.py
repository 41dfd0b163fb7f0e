"""Reads the layers of settings with dynaconf and says where each value came from.

Of dynaconf we use the reading and the order of layers (file, its `.local` sibling, environment),
through `loaded_by_loaders`, which keeps the layers apart. Two of its habits are undone here because
they change values in silence: it reads environment variables as TOML (the token `0123` or `1e3`
would become a number), so the raw text is taken and converted by the type of the setting; and a
group in a later file would replace the whole group, so layers are merged leaf by leaf.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from dynaconf import Dynaconf

from recorder_worker.core.errors import SettingsError

PREFIX = "RECORDER"
CONFIG_VARIABLE = "RECORDER_CONFIG"
DEFAULT_FILE = Path("config") / "settings.yaml"


class Given(msgspec.Struct, frozen=True):
    """A value that someone set. `text` says that it is an environment variable's text."""

    value: object
    origin: str
    text: bool


def settings_file(config: Path | None, directory: Path) -> Path | None:
    """The settings file to read: the one that was named, else `config/settings.yaml` if there.

    Raises:
        SettingsError: a file was named and is not there.
    """
    named, by = config, "--config"
    if named is None and os.environ.get(CONFIG_VARIABLE):
        named, by = Path(os.environ[CONFIG_VARIABLE]), CONFIG_VARIABLE
    if named is None:
        default = directory / DEFAULT_FILE
        return default if default.is_file() else None
    path = directory / named
    if not path.is_file():
        raise SettingsError(
            f"{by}: expected a settings file, found nothing at {path}; "
            f"correct the path or leave it out to use the defaults"
        )
    if path.suffix not in {".yaml", ".yml"}:
        raise SettingsError(f"{by}: expected a .yaml file, got {path}; rename the file")
    return path


def given(file: Path | None) -> dict[tuple[str, ...], Given]:
    """Every value that files and environment set, by its path; later layers win.

    Raises:
        SettingsError: a file is not readable YAML or not a mapping.
    """
    merged: dict[tuple[str, ...], Given] = {}
    for loader, origin, values in _layers(file):
        if loader == "yaml":
            layer = {path: Given(value, origin, text=False) for path, value in _leaves(values, ())}
        elif loader == "env_global" and origin == PREFIX:
            layer = _environment(values)
        else:
            continue
        merged.update(layer)
    return merged


def _layers(file: Path | None) -> list[tuple[str, str, Mapping[object, object]]]:
    """Loader, identifier and raw values of each layer, in the order of reading."""
    files = [] if file is None else [file, file.with_name(f"{file.stem}.local{file.suffix}")]
    for path in files:
        _check_readable(path)
    try:
        source = Dynaconf(
            settings_files=[str(path.resolve()) for path in files[:1]],
            envvar_prefix=PREFIX,
            core_loaders=["YAML"],
            auto_cast=False,
            environments=False,
            load_dotenv=False,
        )
        layers: dict[Any, Mapping[object, object]] = source.loaded_by_loaders
    except Exception as error:  # its YAML reader has no base of its own
        # The environment cannot make it fail: with auto_cast off, every text is a value.
        found = (
            "a list or a text at the top level"
            if isinstance(error, AttributeError)
            else " ".join(str(error).split())
        )
        raise SettingsError(
            f"{' or '.join(map(str, files))}: expected YAML (`key: value`, indented with spaces), "
            f"found: {found}; correct the file"
        ) from error
    return [(of.loader, of.identifier, values) for of, values in layers.items()]


def _check_readable(path: Path) -> None:
    # dynaconf passes over a file that it may not read; its owner would believe it is in force.
    try:
        path.open("rb").close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SettingsError(
            f"{path}: expected a readable file, found: {error.strerror}; correct its mode"
        ) from error


def _leaves(
    values: Mapping[object, object], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in values.items():
        path = (*above, str(key).lower())
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def _environment(values: Mapping[object, object]) -> dict[tuple[str, ...], Given]:
    names = {name.upper(): name for name in os.environ if name.startswith(f"{PREFIX}_")}
    layer: dict[tuple[str, ...], Given] = {}
    for path, value in _leaves(values, ()):
        if path == ("config",):
            continue  # names the settings file; not a setting
        for depth in range(len(path), 0, -1):
            variable = names.get(variable_name(path[:depth]))
            if variable is not None:
                whole = depth == len(path)
                raw = os.environ[variable] if whole else value
                layer[path] = Given(raw, variable, text=whole)
                break
    return layer


def variable_name(path: tuple[str, ...]) -> str:
    """The environment variable that sets a key."""
    return f"{PREFIX}_{'__'.join(path)}".upper()
