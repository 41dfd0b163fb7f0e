"""The drawn part of docs/nats.md: the users, and what each may do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from markdown_parts import code, table

from recorder_worker.bus.rights.permissions import grants
from recorder_worker.bus.rights.stage_rights import watching, workers
from recorder_worker.service.nats_conf import token_lists
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import AuthSettings


def grant_table() -> str:
    """The users, and what each may do; a client stands for all of them."""
    client = "name"
    auth = AuthSettings(mode="jwt", jwks_bucket="KEYS")
    tokens = token_lists(auth, StorageSettings(kind="nats", bucket="COPIES"))
    everybody = ("every worker", "metrics, health, `/status`", "", "", _jetstream(watching()))
    rows: list[tuple[str, ...]] = [everybody]
    for grant in grants([client], tokens=tokens):
        told = [subject for subject in grant.asks if not subject.startswith("$JS.")]
        everybodys = watching() if grant.user in workers() else ()
        more = _jetstream(subject for subject in grant.asks if subject not in everybodys)
        user = "NAME" if grant.user == client else grant.user
        heard = _codes((*grant.hears, *grant.serves))
        cells = (code(user), grant.does, _codes((*told, *grant.calls)), heard, more)
        rows.append(tuple(cell.replace(f"client.{client}.", "client.NAME.") for cell in cells))
    return table(("user", "for", "publishes", "hears", "asks JetStream for"), rows)


JETSTREAM_RIGHTS = (
    ("the newest of", r"\$JS\.API\.DIRECT\.GET\.[^.]+\.(.+)"),
    ("all of", r"\$JS\.API\.DIRECT\.GET\.([^.]+)"),
    ("all of, from the leader,", r"\$JS\.API\.STREAM\.MSG\.GET\.(.+)"),
    ("the state of", r"\$JS\.API\.STREAM\.INFO\.(.+)"),
    ("what waits for", r"\$JS\.API\.CONSUMER\.INFO\.[A-Z]+\.(.+)"),
    ("messages of the consumers", r"\$JS\.API\.CONSUMER\.MSG\.NEXT\.[A-Z]+\.(.+)"),
    ("making and changing", r"\$JS\.API\.STREAM\.CREATE\.(.+)"),
    ("making and changing the consumers", r"\$JS\.API\.CONSUMER\.DURABLE\.CREATE\.[A-Z]+\.(.+)"),
)
"""What the subjects of JetStream's API mean, in words."""


def _jetstream(asks: Iterable[str]) -> str:
    asked = tuple(asks)
    said = []
    for words, pattern in JETSTREAM_RIGHTS:
        found = [match[1] for subject in asked if (match := re.fullmatch(pattern, subject))]
        names = [name for name in found if name != ">"]  # of a stream that is named besides
        if names:
            said.append(f"{words} {_codes(names)}")
    return "; ".join(said)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(code, dict.fromkeys(names)))


PARTS = {"docs/nats.md": {"grants": grant_table}}
