"""The recordings and logs of `tests/vectors` that were held or removed, and what is done to them.

The owner has the device's key, and signs for what he removes. An outsider has the files alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reference_attacks import tampered, without
from reference_format import ED25519, read_record, root
from reference_good import OTHER_SESSION, Make, base, logged, vector
from reference_log import entry_of, sha256
from reference_logs import files_of, sessions
from reference_notes import SIGNATURE, key_id
from reference_retention import KINDS, TITLE, json_line
from reference_sealed import sealed_base
from reference_signing import Key, SignatureStore, log_proof, signature_line
from reference_writer import RECORDER, WALL_NS, Files, Writer

LATER_NS = WALL_NS + 86_400 * 10**9
Says = dict[str, Any]


def hold(name: str = "hold", kind: str = "hold") -> Says:
    return {
        "kind": kind,
        "name": name,
        "by": "kim",
        "reason": "Verfahren 12/26: „Türkamera“",
        "command_id": "c-1",
        "wall_ns": LATER_NS,
    }


def deletion(writer: Writer, **fields: object) -> Says:
    totals = writer.totals()
    says = {
        "kind": "delete",
        "by": "kim",
        "reason": "the visitor asked for it",
        "rule": "command",
        "limit": 0,
        "command_id": "c-2",
        "begun_ns": LATER_NS,
        "tree_size": len(writer.records),
        "root_hash": root(writer.raw()).hex(),
        "chunk_count": totals[0],
        "chunk_bytes": totals[7],
        "key_removed": False,
    }
    return {**says, **fields}


def tombstone(removal: Says, **fields: object) -> Says:
    return {**removal, "kind": "tombstone", "wall_ns": LATER_NS + 10**9, **fields}


def statements(
    writer: Writer,
    says: Sequence[Says],
    device: str = "device",
    session: str = "",
    change: Callable[[bytes], bytes] = lambda text: text,
) -> Files:
    """One behind the other, each signed by the device; `change` changes the text before that."""
    key, name = Key(device, ED25519, writer.store), f"{RECORDER}/log"
    files: Files = {}
    before = "0" * 64
    for number, one in enumerate(says, 1):
        lines = [TITLE, RECORDER, session or writer.session, str(number), before, json_line(one)]
        text = change("".join(f"{line}\n" for line in lines).encode())
        blob = key_id(name, SIGNATURE, key.public) + key.sign(text)
        raw = text + b"\n" + signature_line(name, blob)
        files[f"retention/{number:04d}"] = raw
        before = sha256(raw).hex()
    return files


def chunks_of(files: Files) -> list[str]:
    return [name for name in files if name.startswith("chunks/")]


def gone(files: Files) -> Files:
    return without(files, *chunks_of(files))


def removed_files(store: SignatureStore, **fields: object) -> Files:
    """A session, removed by its owner; `fields` of both statements are others."""
    writer = base(store)
    removal = deletion(writer, **fields)
    return {**gone(writer.sealed()), **statements(writer, [removal, tombstone(removal)])}


def redacted() -> Callable[[Make], Make]:
    return vector("recordings/redacted", "REDACTED")


# --- recordings ----------------------------------------------------------------------------------


@vector("recordings/good", "COMPLETE")
def held_and_released(store: SignatureStore) -> Files:
    """Two holds, of which one is released: nothing is missing."""
    writer = base(store)
    says = [hold("court"), hold("audit"), hold("audit", "release")]
    return {**writer.sealed(), **statements(writer, says)}


@vector("recordings/good", "COMPLETE")
def deletion_ordered(store: SignatureStore) -> Files:
    """It is signed that all chunks go, and none is gone yet."""
    writer = base(store)
    return {**writer.sealed(), **statements(writer, [deletion(writer)])}


@redacted()
def removed(store: SignatureStore) -> Files:
    """All chunks are gone, and a tombstone says so."""
    return removed_files(store)


@redacted()
def removed_by_a_rule(store: SignatureStore) -> Files:
    """They were too old; nobody asked."""
    by_rule = {"by": "recorder", "rule": "max_age_s", "limit": 3600, "command_id": ""}
    return removed_files(store, **by_rule)


@redacted()
def removal_begun(store: SignatureStore) -> Files:
    """The recorder was stopped while it removed: one chunk is gone, the others are good."""
    writer = base(store)
    files = {**writer.sealed(), **statements(writer, [deletion(writer)])}
    return without(files, chunks_of(files)[0])


@redacted()
def removed_behind_a_released_hold(store: SignatureStore) -> Files:
    """Held, released, removed, and all of it in the log of sessions."""
    writer, entries = logged(store)
    removal = deletion(writer)
    says = [hold(), hold(kind="release"), removal, tombstone(removal)]
    files = statements(writer, says)
    opened = read_record(writer.raw()[0])
    device = Key("device", ED25519, store)
    for number, (one, raw) in enumerate(zip(says, list(files.values()), strict=True), 1):
        entries.append(entry_of(opened, KINDS[one["kind"]], raw))
        proof = log_proof(entries, len(entries) - 1, RECORDER, device)
        files[f"proofs/retention-{number:04d}"] = proof
    return {**gone(writer.sealed()), **files}


@redacted()
def key_removed(store: SignatureStore) -> Files:
    """An encrypted session: its key went with `session.json`, so that no copy can be read."""
    writer = sealed_base(store)
    writer.seal()
    removal = deletion(writer, key_removed=True)
    files = {**gone(writer.sealed()), **statements(writer, [removal, tombstone(removal)])}
    return without(files, "session.json")


@redacted()
def key_removed_first(store: SignatureStore) -> Files:
    """The same, stopped behind the first thing that went, which is the key."""
    writer = sealed_base(store)
    writer.seal()
    files = {**writer.sealed(), **statements(writer, [deletion(writer, key_removed=True)])}
    return without(files, "session.json")


# --- attacks -------------------------------------------------------------------------------------


@tampered()
def tombstone_forged(store: SignatureStore) -> Files:
    """An outsider deleted the chunks, and signed a tombstone with a key of his own."""
    writer = base(store)
    removal = deletion(writer)
    files = statements(writer, [removal, tombstone(removal)], device="attacker")
    return {**gone(writer.sealed()), **files}


@tampered()
def tombstone_of_another_session(store: SignatureStore) -> Files:
    """The tombstone of another session of the same recorder was put beside this one."""
    writer, other = base(store), Writer(store, OTHER_SESSION).open().chunk(1).seal()
    removal = deletion(other)
    return {**gone(writer.sealed()), **statements(other, [removal, tombstone(removal)])}


@tampered()
def tombstone_of_another_tree(store: SignatureStore) -> Files:
    """A tombstone names this session and the root of another take."""
    return removed_files(store, root_hash=sha256(b"another take").hex())


@tampered()
def tombstone_and_a_chunk_is_here(store: SignatureStore) -> Files:
    """The tombstone says that all chunks went, and one of them is still here."""
    files = removed_files(store)
    whole = base(store).sealed()
    name = chunks_of(whole)[0]
    return {**files, name: whole[name]}


@tampered()
def tombstone_rewritten(store: SignatureStore) -> Files:
    """Somebody else is said to have asked for it."""
    files = removed_files(store)
    name = "retention/0002"
    return {**files, name: files[name].replace(b'"by":"kim"', b'"by":"bob"')}


@tampered()
def tombstone_without_its_deletion(store: SignatureStore) -> Files:
    """The order to delete is not there, and the tombstone stands behind nothing."""
    return without(removed_files(store), "retention/0001")


@tampered()
def removed_under_hold(store: SignatureStore) -> Files:
    """The owner signed a deletion of what was under hold."""
    writer = base(store)
    removal = deletion(writer)
    files = statements(writer, [hold(), removal, tombstone(removal)])
    return {**gone(writer.sealed()), **files}


@tampered()
def hold_taken_out(store: SignatureStore) -> Files:
    """The hold before the deletion was taken away, and the deletion given its number."""
    writer = base(store)
    removal = deletion(writer)
    files = statements(writer, [hold(), hold(kind="release"), removal, tombstone(removal)])
    kept = {"retention/0001": files["retention/0003"], "retention/0002": files["retention/0004"]}
    return {**gone(writer.sealed()), **kept}


@tampered()
def other_chunk_damaged_behind_a_deletion(store: SignatureStore) -> Files:
    """A deletion that has begun excuses what is missing, not what is here and was changed."""
    writer = base(store)
    files = {**writer.sealed(), **statements(writer, [deletion(writer)])}
    one, other = chunks_of(files)[:2]
    return {**without(files, one), other: files[other][:-1] + b"\x01"}


@tampered()
def manifest_missing_and_not_removed(store: SignatureStore) -> Files:
    """The tombstone says nothing of `session.json`, and it is not there."""
    return without(removed_files(store), "session.json")


@tampered()
def manifest_of_a_plain_session_removed(store: SignatureStore) -> Files:
    """The owner signed that a key goes, of a session that has none: so `session.json` went."""
    return without(removed_files(store, key_removed=True), "session.json")


@tampered()
def statement_in_another_encoding(store: SignatureStore) -> Files:
    """The owner signed JSON with a blank in it: there is one encoding."""

    def spaced(text: bytes) -> bytes:
        return text.replace(b'"kind":', b'"kind": ')

    writer = base(store)
    removal = deletion(writer)
    files = statements(writer, [removal, tombstone(removal)], change=spaced)
    return {**gone(writer.sealed()), **files}


@tampered()
def deletion_of_what_is_not_sealed(store: SignatureStore) -> Files:
    """A session that was being recorded, of which chunks are said to be removed."""
    writer = base(store)
    writer.records.pop()
    files = {**writer.journal(), **statements(writer, [deletion(writer)])}
    return without(files, chunks_of(files)[0])


@vector("recordings/unsupported", "UNSUPPORTED")
def unknown_version_of_a_statement(store: SignatureStore) -> Files:
    """A statement of version 2."""

    def newer(text: bytes) -> bytes:
        return text.replace(b"retention v1", b"retention v2")

    writer = base(store)
    return {**writer.sealed(), **statements(writer, [hold()], change=newer)}


# --- logs ----------------------------------------------------------------------------------------


def log_with(store: SignatureStore, entered: Sequence[int] = (1, 2, 3, 4), kept: int = 4) -> Files:
    """Three sessions; the second was held, released and removed. Statements by number."""
    writers = sessions(store)
    second = writers[1]
    removal = deletion(second)
    says = [hold(), hold(kind="release"), removal, tombstone(removal)]
    files = statements(second, says)
    opened = read_record(second.raw()[0])
    entries = [entry for writer in writers for entry in writer.entries()]
    for number in entered:
        raw = files[f"retention/{number:04d}"]
        entries.append(entry_of(opened, KINDS[says[number - 1]["kind"]], raw))
    in_folder = {
        f"sessions/{second.session}/{name}": data
        for number, (name, data) in enumerate(files.items(), 1)
        if number <= kept
    }
    return {**files_of(store, writers, entries), **in_folder}


@vector("logs/good", "COMPLETE")
def session_removed(store: SignatureStore) -> Files:
    """The second session was held, released and removed; the log proves that it was there."""
    return log_with(store)


@vector("logs/tampered", "TAMPERED")
def tombstone_taken_away(store: SignatureStore) -> Files:
    """The log has a tombstone that is not in the folder."""
    return log_with(store, kept=3)


@vector("logs/tampered", "TAMPERED")
def tombstone_not_in_the_log(store: SignatureStore) -> Files:
    """A tombstone is in the folder and not in the log."""
    return log_with(store, entered=(1, 2, 3))


@vector("logs/tampered", "TAMPERED")
def hold_left_out_of_the_log(store: SignatureStore) -> Files:
    """The log was signed anew without the hold and its release."""
    return log_with(store, entered=(3, 4))


@vector("logs/tampered", "TAMPERED")
def removed_session_taken_away(store: SignatureStore) -> Files:
    """A removed session leaves its records: its folder may not be gone."""
    files = log_with(store)
    second = sessions(store)[1].session
    return {name: data for name, data in files.items() if f"/{second}/" not in name}
