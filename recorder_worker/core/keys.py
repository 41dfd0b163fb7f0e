"""Every name in a recording's folder, made in one place (docs/format.md, "The folder").

Names are relative to the folder of one session, so that the verifier and a folder that was
carried elsewhere use the same ones; `blob_key` puts a name below the session's prefix in a store.
"""

from __future__ import annotations

import re

from recorder_worker.core.errors import PermanentError

SESSIONS = "sessions"
MANIFEST = "session.json"
SEGMENTS = "segments"
CHUNKS = "chunks"
THUMBNAILS = "thumbnails"
MARKS = "marks"
JOURNAL = "journal"
LEAVES = "journal/leaves"
NOTES = "journal/checkpoints"
RECORDS = "records"
CHECKPOINTS = "checkpoints"
SEAL = "seal"
PROOFS = "proofs"
RECEIPTS = "receipts"
CLIP = "clip"
TRUST = "trust.yaml"
PROOF_OPEN = "proofs/open"
PROOF_SEAL = "proofs/seal"
RETENTION = "retention"
PROOF_RETENTION = "proofs/retention"
LOG = "log"
LOG_CHECKPOINT = "checkpoint"
LOG_TILES = "tile"
LOG_BEACON = "beacon"
LOG_RECEIPTS = "receipts"
PATROL_PLACE = "patrol/place"
RETENTION_CLOCK = "retention/clock"
"""The newest time that was believed, in seconds: for this store alone, and no copy."""
AUDIT = "audit"
AUDIT_PROOFS = "proofs"
AUDIT_SUFFIX = ".jsonl"
COPIED = (SESSIONS, LOG, AUDIT)
"""What a second store has copies of, but for the claim."""
COPIES = "copies"
COPIES_TOLD = "copies-told"
CLAIM = "recorder"
PROBE = "probe"
"""Written and taken away again at once, to see whether a store takes anything at all."""

KEY_MAX_CHARACTERS = 1024
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


def is_name(text: str) -> bool:
    """Whether a text can be one name in a key."""
    return _PART.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether a text can be a key. What others have put into a store may be named anyhow."""
    return len(text) <= KEY_MAX_CHARACTERS and all(map(is_name, text.split("/")))


def key_parts(key: str) -> list[str]:
    """The names that a key is made of.

    Names of segments and chunks come in with events: this is where a forged one that points out of
    the store ends, in every store.

    Raises:
        PermanentError: it is none.
    """
    if not is_key(key):
        raise PermanentError(
            f"blob key: expected names of letters, digits, `.`, `_` and `-` joined by `/`, "
            f"none beginning with `.` or `-`, at most {KEY_MAX_CHARACTERS} characters; "
            f"found {key[:200]!r}; keys are made in core/keys.py"
        )
    return key.split("/")


def folder_prefix(prefix: str) -> str:
    """What all keys below a prefix begin with: the prefix with one `/`, or nothing for all.

    Raises:
        PermanentError: it is no key, and not empty.
    """
    whole = prefix.rstrip("/")
    return "/".join(key_parts(whole)) + "/" if whole else ""


def session_prefix(session_id: str) -> str:
    """The prefix of one recording in a blob store."""
    return f"{SESSIONS}/{session_id}"


def blob_key(session_id: str, name: str) -> str:
    """The key in a blob store of a name in a recording's folder."""
    return f"{SESSIONS}/{session_id}/{name}"


def log_key(name: str) -> str:
    """The key in a blob store of a name in the log of sessions."""
    return f"{LOG}/{name}"


def segment(first_unit: int, digest: str) -> str:
    """One segment. The digest keeps apart what two lease holders wrote for the same units."""
    return f"{SEGMENTS}/{first_unit:012d}-{digest[:16]}.seg"


def chunk(index: int, *, compressed: bool, encrypted: bool = False) -> str:
    """One chunk payload, named by its leaf index; `.raw` where zstd could not shrink it.

    `.enc` behind that where it is encrypted, for then no other tool should be tried on it.
    """
    form = "zst" if compressed else "raw"
    return f"{CHUNKS}/{index:010d}.{form}{'.enc' if encrypted else ''}"


def thumbnail(unit: int, *, encrypted: bool = False) -> str:
    """A small picture of one unit: no part of the record."""
    return f"{THUMBNAILS}/{unit:012d}.jpg{'.enc' if encrypted else ''}"


def mark(index: int) -> str:
    """The body of a client's mark, exactly the bytes whose digest is in its record."""
    return f"{MARKS}/{index:010d}.json"


def leaf(index: int) -> str:
    """One leaf record of a session that is not sealed yet."""
    return f"{LEAVES}/{index:010d}"


def note(size: int) -> str:
    """The signed checkpoint for one tree size: the store being immutable, there is only one."""
    return f"{NOTES}/{size:010d}"


def statement(number: int) -> str:
    """One statement of retention: of two that are made at once the store takes one."""
    return f"{RETENTION}/{number:04d}"


def statement_proof(number: int) -> str:
    """The proof that a statement stands in the log of sessions."""
    return f"{PROOF_RETENTION}-{number:04d}"


def copies_told(session_id: str) -> str:
    """That `integration.storage.archived` has told of a session's copy; no part of either."""
    return f"{COPIES_TOLD}/{session_id}"


def receipt(tree_size: int, suffix: str) -> str:
    """A receipt over the log of sessions at a size, or what it is over, beside others of its kind.

    `suffix` is `tsr` (RFC 3161), `ots` (OpenTimestamps) or `note` (the checkpoint itself).
    """
    return f"{RECEIPTS}/{tree_size:020d}.{suffix}"


def chain_receipt(tree_size: int, fingerprint: str) -> str:
    """A receipt of an anchor with a chain of its own: one for each size and key."""
    return receipt(tree_size, f"{fingerprint}.chain")


def segment_unit(key: str) -> int:
    """The first unit of a segment, from its key or name."""
    return int(key.rsplit("/", 1)[-1].split("-", 1)[0])


def audit_bundle(first: int) -> str:
    """A bundle of the audit trail, named by its first event alone.

    So there is one name for what comes next, whatever its length: of two workers that write it the
    store, being immutable, takes one.
    """
    return f"{AUDIT}/{first:012d}{AUDIT_SUFFIX}"


def audit_proof(tree_size: int) -> str:
    """The proof that the bundle entered at a size stands in the log of sessions."""
    return f"{AUDIT}/{AUDIT_PROOFS}/{tree_size:012d}"


def copies(session_id: str) -> str:
    """What is known of a sealed session's copy in the second store; no part of the recording."""
    return f"{COPIES}/{session_id}"
