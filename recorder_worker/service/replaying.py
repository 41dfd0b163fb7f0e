"""Composes the replay of one session from settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.bus.connection.broker import Login, RecorderBroker, connect, make_broker
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.service.settings.loading import node_name
from recorder_worker.service.settings.tree import Settings
from recorder_worker.stages.replay import Replay, ReplayResult


async def replay_session(
    settings: Settings,
    login: Login,
    session_id: str,
    target: Path,
    cipher: SessionCipher | None = None,
) -> ReplayResult:
    """Replay a session of this recorder's data directory into a new folder.

    `cipher` is that of an encrypted session, by somebody who has an identity.

    Raises:
        RefusedError: the stream does not know the session, or it is not sealed.
        EventsMissingError, BlobMissingError: something that it is made of is gone.
        BusUnavailableError: NATS is not there.
    """
    async with connected(login) as broker:
        replay = Replay(
            log=event_log(settings, broker),
            store=DirectoryStore(settings.data_path),
            target=DirectoryStore(target),
            session_id=session_id,
            cipher=cipher,
        )
        return await replay.run()


def event_log(settings: Settings, broker: RecorderBroker) -> JetStreamEventLog:
    """The events on a server, for whoever reads them."""
    return JetStreamEventLog(lambda: broker.jetstream, EventHeaders(node_name(settings)))


@asynccontextmanager
async def connected(login: Login) -> AsyncIterator[RecorderBroker]:
    """A connection for the length of an `async with`. Raises BusUnavailableError."""
    broker = make_broker(login)
    await connect(broker, login)
    try:
        yield broker
    finally:
        await broker.stop()
