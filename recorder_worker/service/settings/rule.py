"""What each setting may be: the tree of keys, its types, and the words for them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import msgspec
from msgspec import inspect

from recorder_worker.service.settings.tree import Settings

Path = tuple[str, ...]


class Rule(msgspec.Struct, frozen=True):
    """One key: its type, its default and whether it must not be shown."""

    path: Path
    kind: inspect.Type
    default: object
    secret: bool

    @property
    def dotted(self) -> str:
        """The key as people write it: `nats.port`."""
        return ".".join(self.path)


def rules() -> dict[Path, Rule]:
    """All keys of `Settings`, in its order."""
    root = inspect.type_info(Settings)
    return {rule.path: rule for rule in _walk(root, (), Settings())}


def _walk(kind: inspect.Type, above: Path, defaults: object) -> Iterator[Rule]:
    if not isinstance(kind, inspect.StructType):
        raise TypeError(f"settings: expected a group at {above}, found {kind}")
    for field in kind.fields:
        path = (*above, field.encode_name)
        default = getattr(defaults, field.name)
        if isinstance(field.type, inspect.StructType):
            yield from _walk(field.type, path, default)
        else:
            plain, secret = _unwrap(field.type)
            yield Rule(path, plain, default, secret)


def _unwrap(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    if isinstance(kind, inspect.Metadata):
        return kind.type, bool((kind.extra or {}).get("secret"))
    return kind, False


def allowed(kind: inspect.Type) -> str:
    """What a key may hold, in words."""
    match kind:
        case inspect.Metadata():
            words = allowed(kind.type)
        case inspect.LiteralType():
            words = "one of " + ", ".join(str(value) for value in kind.values)
        case inspect.BoolType():
            words = "true or false"
        case inspect.IntType():
            words = "a whole number" + _limits(kind)
        case inspect.FloatType():
            words = "a number" + _limits(kind)
        case inspect.VarTupleType():
            words = f"a list of {_count(kind)}, each {allowed(kind.item_type)}"
        case inspect.StrType():
            words = _text(kind)
        case _:
            raise TypeError(f"settings: no words for {kind}; add them to settings.rule.allowed")
    return words


def _limits(kind: inspect.IntType | inspect.FloatType) -> str:
    parts = [
        f"{sign} {limit}"
        for sign, limit in ((">=", kind.ge), (">", kind.gt), ("<=", kind.le), ("<", kind.lt))
        if limit is not None
    ]
    return f" {' and '.join(parts)}" if parts else ""


def _count(kind: inspect.VarTupleType) -> str:
    return f"{kind.min_length or 0} to {kind.max_length or 'any number of'} values"


def _text(kind: inspect.StrType) -> str:
    parts = ["text"]
    if kind.min_length:
        parts.append(f"of at least {kind.min_length} character")
    if kind.max_length:
        parts.append(f"of at most {kind.max_length} characters")
    if kind.pattern:
        parts.append(f"that matches {kind.pattern}")
    return " ".join(parts)


def nearest(path: Path, known: dict[Path, Rule]) -> Rule | None:
    """The key that was probably meant; None where nothing is similar.

    Separators do not count, so that `RECORDER_NATS_URL` finds `nats.url`. A key that is right
    but stands at the wrong depth is found by its last part.
    """
    by_shape = {"_".join(rule.path): rule for rule in known.values()}
    close = difflib.get_close_matches("_".join(path), by_shape, n=1, cutoff=0.75)
    if close:
        return by_shape[close[0]]
    by_name = {rule.path[-1]: rule for rule in known.values()}
    close = difflib.get_close_matches(path[-1], by_name, n=1, cutoff=0.8)
    return by_name[close[0]] if close else None
