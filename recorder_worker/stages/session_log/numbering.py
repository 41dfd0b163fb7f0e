"""Gives every session of a recorder its number, once and for ever."""

from __future__ import annotations

import asyncio

import structlog

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    FencedError,
    FormatError,
    IncidentError,
    PermanentError,
)
from recorder_worker.core.events import SessionLogged, SessionNumbered
from recorder_worker.core.ids import event_key
from recorder_worker.core.receipts.beacon import Beacon, parse_beacon
from recorder_worker.core.session_log.entries import decode_entry
from recorder_worker.core.session_log.log_head import LogHead, head_in
from recorder_worker.core.session_log.stored_log import read_checkpoint, read_entries
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, EventLog
from recorder_worker.stages.session_log.log_files import LogFiles

logger = structlog.get_logger(__name__)

TRIES = 200
LONGEST_WAIT_S = 0.1


async def number(log: EventLog, store: BlobStore, session_id: str) -> SessionNumbered:
    """The number of a session, with what is known of the log of sessions at this moment.

    Asked again for a session, it gives what it gave the first time. Of sessions that are numbered
    at once each gets its own number: who loses at the fence takes the next one.

    Raises:
        FencedError: too many sessions begin at once; try again.
        IncidentError: the register was lost, and the stored log cannot be read: no number is safe.
        BusUnavailableError, StoreError: try again.
    """
    for attempt in range(TRIES):
        held = await log.last(Fact.NUMBERED, session_id)
        if held is not None and isinstance(held.event, SessionNumbered):
            return held.event
        newest = await log.last_of_all(Fact.NUMBERED)
        head = await log.last_of_all(Fact.LOGGED)
        known = head.event if head and isinstance(head.event, SessionLogged) else None
        given = newest.event if newest else None
        floor = given.counter if isinstance(given, SessionNumbered) else 0
        event = await asyncio.to_thread(_next, LogFiles(store), session_id, known, floor)
        try:
            await log.append_to_all(
                Fact.NUMBERED,
                session_id,
                event,
                key=event_key(Fact.NUMBERED.value, session_id),
                after=newest.sequence if newest else 0,
            )
        except FencedError:
            await asyncio.sleep(min(0.005 * (attempt + 1), LONGEST_WAIT_S))
        # What stands there is read back, never taken to be ours: of two holders of one session the
        # slower one's append succeeds as well, because the key is the same.
    raise FencedError(f"session {session_id}: found no free number in {TRIES} tries")


def _next(
    files: LogFiles, session_id: str, known: SessionLogged | None, floor: int
) -> SessionNumbered:
    """Blocking: the event of the next number behind `floor` and behind all numbers in the log."""
    try:
        checkpoint = read_checkpoint(files.read)
        head = _head(files, known, checkpoint)
    except (FormatError, BlobMissingError) as error:
        if not floor:
            raise IncidentError(
                f"session {session_id}: the register of sessions is empty, and the stored log "
                f"cannot be read, so that no number is known to be free: {error}; restore "
                f"{files.location} from a copy"
            ) from error
        logger.exception("SessionLogUnreadable")
        checkpoint, head = None, head_in(known) if known else LogHead()
    beacon = _beacon(files)
    return SessionNumbered(
        session_id=session_id,
        counter=max(floor, head.max_counter) + 1,
        previous_seal=head.last_seal.hex(),
        beacon=checkpoint.raw.decode() if checkpoint else "",
        timestamped=beacon.note if beacon else "",
        timestamp=beacon.timestamp if beacon else b"",
    )


def _head(files: LogFiles, known: SessionLogged | None, checkpoint: SignedNote | None) -> LogHead:
    """What the register says of the log, and where the store knows more, that too."""
    head = head_in(known) if known else LogHead()
    size = checkpoint.head.tree_size if checkpoint else 0
    if size > head.size:
        for data in read_entries(files.read, head.size, size):
            head = head.append(decode_entry(data))
    return head


def _beacon(files: LogFiles) -> Beacon | None:
    """The newest receipted checkpoint; without one a session begins all the same."""
    try:
        return parse_beacon(files.read(keys.LOG_BEACON))
    except BlobMissingError:
        return None
    except PermanentError:
        logger.exception("BeaconUnreadable")
        return None
