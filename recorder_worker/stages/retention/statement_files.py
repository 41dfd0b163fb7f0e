"""The statements of sessions in the blob store, made and read by this device. Blocking."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from recorder_worker.core import keys
from recorder_worker.core.errors import FencedError, ImmutableConflictError
from recorder_worker.core.retention.sayings import Saying
from recorder_worker.core.retention.standing import Standing
from recorder_worker.core.retention.statement import (
    SignedStatement,
    Statement,
    parse_statement,
    sign_statement,
)
from recorder_worker.core.signing.signing_keys import KeyKind
from recorder_worker.ports import BlobStore, Signer
from recorder_worker.stages.retention.statement_reader import Speaker, StatementReader


class StatementFiles(StatementReader):
    """Reads and writes `retention/` in the folders of sessions, in the name of this device."""

    def __init__(self, store: BlobStore, signer: Signer, recorder: str) -> None:
        super().__init__(store, self._ourselves)
        self._signer = signer
        self.recorder = recorder

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

    def own_keys(self) -> Iterator[bytes]:
        """The device's Ed25519 keys: that in force, and those that it had before."""
        yield self._signer.device_keys()[0].data
        for key in self._signer.former_keys():
            if key.kind is KeyKind.ED25519:
                yield key.data

    def _ourselves(self, _session_id: str) -> Speaker:
        return Speaker(self.recorder, tuple(self.own_keys()))
