"""Secrets among the settings: out of files that hold nothing else, and never out of an open file.

Docker and Kubernetes put each secret into a file of its own. Its path comes in the variable of the
setting with `_FILE` behind it.
"""

from __future__ import annotations

import stat
from pathlib import Path

from recorder_worker.core.errors import SettingsError
from recorder_worker.service.settings.layers import PREFIX, Given, variable_name
from recorder_worker.service.settings.rule import Rule

SUFFIX = "_FILE"
MAX_BYTES = 65_536

Layers = dict[tuple[str, ...], Given]


def with_secret_files(layers: Layers, known: dict[tuple[str, ...], Rule]) -> Layers:
    """The values with those that stand in files of their own.

    Raises:
        SettingsError: a file cannot be read or is empty, or a secret is given twice; or one stands
            in a settings file that others may read.
    """
    found = dict(layers)
    for path, rule in known.items():
        if not rule.secret:
            continue
        named = found.pop((*path[:-1], f"{path[-1]}{SUFFIX.lower()}"), None)
        given = found.get(path)
        if named is not None:
            found[path] = _read(rule, named, given)
        elif given is not None:
            _check_private(rule, given)
    return found


def _read(rule: Rule, named: Given, given: Given | None) -> Given:
    variable = f"{variable_name(rule.path)}{SUFFIX}"
    if not _is_variable(named):
        raise SettingsError(
            f"{rule.dotted}{SUFFIX.lower()}: there is no such setting, found in {named.origin}; "
            f"the path of a file with this secret is given in the variable {variable}"
        )
    if given is not None and _is_variable(given):
        raise SettingsError(
            f"{rule.dotted}: expected {given.origin} or {variable}, found both; unset one of them"
        )
    path = Path(str(named.value))
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(
            f"{rule.dotted}: expected a file that this user can read, found {path} in {variable}: "
            f"{reason}; correct the path, or the file's mode"
        ) from error
    secret = text.rstrip("\r\n")
    if not secret:
        raise SettingsError(
            f"{rule.dotted}: expected a secret in {path}, which {variable} names, found an empty "
            "file; write it there, or unset the variable"
        )
    return Given(secret, variable, text=True)


def _check_private(rule: Rule, given: Given) -> None:
    if _is_variable(given) or given.value in (None, ""):
        return
    mode = stat.S_IMODE(Path(given.origin).stat().st_mode)
    if mode & 0o077:
        raise SettingsError(
            f"{rule.dotted}: expected no secret in a file that others may read, found one in "
            f"{given.origin} (mode {mode:04o}); chmod 600 that file, or give it in "
            f"{variable_name(rule.path)} or {variable_name(rule.path)}{SUFFIX}"
        )


def _is_variable(given: Given) -> bool:
    return given.origin.startswith(f"{PREFIX}_")
