"""What every group of settings is."""

from __future__ import annotations

import msgspec


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every group of settings. Its secrets are not in its text."""

    def __repr__(self) -> str:
        shown = (
            f"{field.name}={'(set, not shown)' if value and _is_secret(field) else repr(value)}"
            for field in msgspec.structs.fields(self)
            for value in (getattr(self, field.name),)
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def _is_secret(field: msgspec.structs.FieldInfo) -> bool:
    metas = getattr(field.type, "__metadata__", ())
    return any((meta.extra or {}).get("secret") for meta in metas)
