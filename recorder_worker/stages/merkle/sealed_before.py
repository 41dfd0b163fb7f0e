"""Heads that NATS lost behind the seal of a recording: its records are taken, not made again.

A server that does not sync each message may forget its newest ones in a power cut, when the
session is sealed, its journal cleared and its keys erased. Made again, an OPEN or EPOCH would name
fresh keys and contradict what was signed.
"""

from __future__ import annotations

from recorder_worker.core.errors import FormatError, IncidentError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.codec import decode_record, signed_open
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.records.ledger import LedgerState, advance
from recorder_worker.core.signing.note import note_keys, parse_note, verify_note
from recorder_worker.core.signing.origins import session_origin
from recorder_worker.core.signing.signing_keys import verify_signature
from recorder_worker.ports import Signer
from recorder_worker.stages.merkle.archive import Archive


def state_sealed_before(
    archive: Archive, state: LedgerState, index: int, signer: Signer, recorder: str
) -> LedgerState | None:
    """The state behind a leaf of a recording that is sealed already; None where it is not.

    The stored record counts only where our keys have signed it: OPEN those of the device, any
    other the keys that sign behind the leaf before it. Else whoever can write to the store could
    plant `records` in a session that runs, with keys of their own in it.

    Raises:
        IncidentError: there is a record, and it is not ours. Nothing is made, written or signed.
    """
    try:
        held = archive.sealed_leaf(index)
        if held is None:
            return None
        new = _accepted(archive, state, held, signer, recorder)
    except (FormatError, ProofError, ValueError) as error:
        raise IncidentError(
            f"record {index} at {archive.location}: expected it as we signed it, for there is a "
            f"file of sealed records; found something else: {error}; nothing is signed any more"
        ) from error
    return new


def _accepted(
    archive: Archive, state: LedgerState, held: bytes, signer: Signer, recorder: str
) -> LedgerState:
    record = decode_record(held)
    new = advance(state, record, held)
    if isinstance(record, OpenRecord):
        if record.device_keys != signer.device_keys():
            raise ProofError("its OPEN names other device keys")
        for key, signature in zip(record.device_keys, record.device_signatures, strict=True):
            verify_signature(key, signed_open(record), signature)
    note = parse_note(archive.note(new.size) or b"")
    origin = session_origin(recorder, record.session_id)
    if note.head.root_hash != new.frontier.root() or note.head.origin != origin:
        raise ProofError("its checkpoint is of another tree")
    for note_key in note_keys(recorder, new.signing.keys):
        verify_note(note, note_key)
    return new
