"""The statements of sessions in the blob store, made and read by this device. Blocking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    FencedError,
    FormatError,
    ImmutableConflictError,
    IncidentError,
)
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.retention.sayings import Deletion, Saying
from recorder_worker.core.retention.standing import Standing
from recorder_worker.core.retention.statement import (
    MAX_STATEMENTS,
    SignedStatement,
    Statement,
    parse_statement,
    sign_statement,
    verify_statement,
)
from recorder_worker.core.signing.signing_keys import KeyKind
from recorder_worker.ports import BlobStore, Signer


def is_being_removed(store: BlobStore, session_id: str) -> bool:
    """Whether something in the folder says that its bytes go, or went. Not verified: a hint."""
    for number in range(1, MAX_STATEMENTS + 1):
        try:
            data = store.get(keys.blob_key(session_id, keys.statement(number)))
            says = parse_statement(data).statement.says
        except (BlobMissingError, FormatError):
            return False
        if isinstance(says, Deletion):
            return True
    return False


class StatementFiles:
    """Reads and writes `retention/` in the folders of sessions."""

    def __init__(self, store: BlobStore, signer: Signer, recorder: str) -> None:
        self._store = store
        self._signer = signer
        self.recorder = recorder

    def statements(self, session_id: str) -> list[SignedStatement]:
        """All of them, each of this recorder and signed by a key that this device has or had.

        Raises:
            IncidentError: one is not.
        """
        return list(self._each(session_id))

    def deletion(self, session_id: str) -> Deletion | None:
        """By which the bytes of a session go, or went; None: this device has signed none.

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
        """Whether the bytes of a session go, or went, by what this device has signed."""
        return self.deletion(session_id) is not None

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
                verify_statement(signed, self.own_keys())
                self._check_place(signed, session_id)
            except (FormatError, ProofError) as error:
                raise IncidentError(
                    f"session {session_id}: expected our own {keys.statement(number)}, found "
                    f"another one: {error}; nothing is removed, held or released until it is "
                    "restored from a copy"
                ) from error
            yield signed

    def has_more(self, session_id: str, count: int) -> bool:
        """Whether there is a statement behind the first `count` ones."""
        return self._store.size(keys.blob_key(session_id, keys.statement(count + 1))) is not None

    def add(self, session_id: str, standing: Standing, saying: Saying) -> SignedStatement:
        """Sign and store the next statement.

        Raises:
            FencedError: another worker has stored one meanwhile.
        """
        statement = Statement(
            recorder=self.recorder,
            session_id=session_id,
            number=standing.count + 1,
            previous=standing.digest,
            says=saying,
        )
        data = sign_statement(
            statement,
            self._signer.device_keys()[0].data,
            partial(self._signer.sign_device, KeyKind.ED25519),
        )
        signed = parse_statement(data)
        standing.behind(signed)
        try:
            self._store.put(keys.blob_key(session_id, keys.statement(statement.number)), data)
        except ImmutableConflictError as error:
            raise FencedError(
                f"session {session_id}: another worker made its statement {statement.number}"
            ) from error
        return signed

    def _check_place(self, signed: SignedStatement, session_id: str) -> None:
        said = (signed.statement.recorder, signed.statement.session_id)
        if said != (self.recorder, session_id):
            raise FormatError(f"it is of {said[0]} about session {said[1]}")

    def own_keys(self) -> Iterator[bytes]:
        """The device's Ed25519 keys: that in force, and those that it had before."""
        yield self._signer.device_keys()[0].data
        for key in self._signer.former_keys():
            if key.kind is KeyKind.ED25519:
                yield key.data
