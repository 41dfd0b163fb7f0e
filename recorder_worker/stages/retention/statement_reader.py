"""Reads the statements of a session and believes those alone that may be believed. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError, IncidentError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.retention.sayings import Deletion
from recorder_worker.core.retention.standing import Standing
from recorder_worker.core.retention.statement import (
    MAX_STATEMENTS,
    SignedStatement,
    parse_statement,
    verify_statement,
)
from recorder_worker.core.signing.rotation import Rotation
from recorder_worker.core.verify.log_keys import LogKeys
from recorder_worker.ports import BlobStore
from recorder_worker.stages.sealed_records import sealed_records


class Speaker(msgspec.Struct, frozen=True):
    """Who may say what becomes of a session: its recorder, by one of its raw Ed25519 keys."""

    recorder: str
    public_keys: Sequence[bytes]


SpeakerOf = Callable[[str], Speaker]
"""By a session's id. Raises FormatError or BlobMissingError where nobody can tell."""


class StatementReader:
    """Reads `retention/` in the folders of sessions."""

    def __init__(self, store: BlobStore, speaker_of: SpeakerOf) -> None:
        self._store = store
        self._speaker_of = speaker_of

    def statements(self, session_id: str) -> list[SignedStatement]:
        """All of them, each of the session's recorder and signed by a key that it has or had.

        Raises:
            IncidentError: one is not.
        """
        return list(self._each(session_id))

    def deletion(self, session_id: str) -> Deletion | None:
        """By which the bytes of a session go, or went; None: its recorder has signed none.

        What somebody else has put there says nothing, and what stands behind that neither. Raises
        StoreError.
        """
        found: Deletion | None = None
        with suppress(IncidentError):
            for signed in self._each(session_id):
                if isinstance(signed.statement.says, Deletion):
                    found = signed.statement.says
        return found

    def is_deleted(self, session_id: str) -> bool:
        """Whether the bytes of a session go, or went, by what its recorder has signed."""
        return self.deletion(session_id) is not None

    def has_more(self, session_id: str, count: int) -> bool:
        """Whether there is a statement behind the first `count` ones."""
        return self._store.size(keys.blob_key(session_id, keys.statement(count + 1))) is not None

    def _each(self, session_id: str) -> Iterator[SignedStatement]:
        standing = Standing()
        for number in range(1, MAX_STATEMENTS + 1):
            try:
                data = self._store.get(keys.blob_key(session_id, keys.statement(number)))
            except BlobMissingError:
                return
            try:
                signed = parse_statement(data)
                standing = standing.behind(signed)
                speaker = self._speaker_of(session_id)
                verify_statement(signed, speaker.public_keys)
                _check_place(signed, speaker, session_id)
            except (BlobMissingError, FormatError, ProofError) as error:
                raise IncidentError(
                    f"session {session_id}: expected our own {keys.statement(number)}, found "
                    f"another one: {error}; nothing is removed, held or released until it is "
                    "restored from a copy"
                ) from error
            yield signed


def recorder_of(
    store: BlobStore, session_id: str, rotations: Callable[[], Sequence[Rotation]]
) -> Speaker:
    """Who may speak of a sealed session by what its folder says, where the device's key is not.

    The records have to be those that the seal signs. `rotations` are statements, verified, that may
    tie later keys to the one in OPEN.

    Raises:
        BlobMissingError, FormatError: the folder does not say it.
    """
    first = b""
    for data in sealed_records(store, session_id):
        first = first or data
    opened = decode_record(first)
    if not isinstance(opened, OpenRecord) or not opened.device_keys:
        raise FormatError(
            f"expected an OPEN with a key of the device, found a {type(opened).__name__}"
        )
    if opened.session_id != session_id:
        raise FormatError(f"its OPEN is of session {opened.session_id}")
    return Speaker(opened.recorder, tuple(LogKeys(opened, rotations()).public_keys()))


def _check_place(signed: SignedStatement, speaker: Speaker, session_id: str) -> None:
    said = (signed.statement.recorder, signed.statement.session_id)
    if said != (speaker.recorder, session_id):
        raise FormatError(f"it is of {said[0]} about session {said[1]}")
