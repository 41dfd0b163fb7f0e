"""Looks at everything, and repairs what is safe where that is asked for.

Each part is looked at by itself: what cannot be looked at is said, and the others go on. Without
`repair` nothing is changed at all, neither on the disk nor on the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from recorder_worker.bus.connection.broker import Login, RecorderBroker
from recorder_worker.bus.dead_letters.book import DeadLetterBook
from recorder_worker.bus.inspection.inspector import Inspector
from recorder_worker.bus.sessions.known_sessions import known_sessions
from recorder_worker.core import keys
from recorder_worker.core.command_parsing import is_session_id
from recorder_worker.core.errors import BusUnavailableError, RecorderError
from recorder_worker.core.events import SessionSealed
from recorder_worker.core.findings import Examined, Finding, Severity, worst_first
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import EventLog
from recorder_worker.service import policies
from recorder_worker.service.doctor import bus_checks
from recorder_worker.service.doctor.case import Case, repaired
from recorder_worker.service.doctor.directory import look_at_directory
from recorder_worker.service.doctor.kept_sessions import look_at_kept
from recorder_worker.service.doctor.running_sessions import look_at_running
from recorder_worker.service.doctor.sealed_sessions import look_at_epochs, look_at_sealed
from recorder_worker.service.doctor.session_folder import SessionFolder, look_at_folder
from recorder_worker.service.replaying import connected, event_log
from recorder_worker.service.settings.tree import Settings
from recorder_worker.stages.newest_event import newest_event


async def examine(settings: Settings, login: Login | None, *, repair: bool) -> Examined:
    """Look, and repair where that is asked for. `login` is None where only the directory is asked.

    Raises:
        SettingsError: a certificate of the login cannot be read.
    """
    look = Look(settings)
    await look.at("the data directory", look.directory)
    await look.at("what was deleted and copied", look.kept)
    async with AsyncExitStack() as stack:
        broker = await look.reach(stack, login) if login is not None else None
        if broker is None:
            look.missed.append("streams, consumers and dead letters: without NATS")
            await look.at("sessions", lambda: look.folders(None))
        else:
            await look.bus(broker, login.servers if login is not None else ())
        findings = [await repaired(case) if repair else case.finding for case in look.cases]
    return Examined(
        data_dir=str(settings.data_path),
        nats=login.shown if login is not None else "",
        findings=worst_first(findings),
        not_looked_at=tuple(look.missed),
    )


class Look:
    """One look: what was found, and what could not be looked at."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.data_path / keys.SESSIONS
        self.cases: list[Case] = []
        self.missed: list[str] = []

    async def at(self, what: str, look: Callable[[], Awaitable[None]]) -> None:
        """Look at one part; an error is its own alone."""
        try:
            await look()
        except (RecorderError, TimeoutError, OSError) as error:
            self.missed.append(f"{what}: {error}")

    async def directory(self) -> None:
        """The data directory as such."""
        self.cases += await asyncio.to_thread(look_at_directory, self._settings)

    async def kept(self) -> None:
        """What was said of sessions, and what is known of their copies."""
        self._found(*await asyncio.to_thread(lambda: list(look_at_kept(self._settings))))

    async def reach(self, stack: AsyncExitStack, login: Login) -> RecorderBroker | None:
        """A connection; None where there is none, which is a finding."""
        try:
            return await stack.enter_async_context(connected(login))
        except BusUnavailableError as error:
            self._found(
                Finding(
                    check="nats",
                    severity=Severity.ERROR,
                    where=login.shown,
                    what=str(error),
                    advice="start the recorder, or its nats-server; to look at the directory alone "
                    "give --offline",
                )
            )
            return None

    async def bus(self, broker: RecorderBroker, servers: tuple[str, ...]) -> None:
        """The server, and the sessions with its help."""
        inspector = Inspector(
            broker.jetstream, policies.bus_settings(self._settings, "doctor", servers)
        )
        log = event_log(self._settings, broker)
        book = DeadLetterBook(lambda: broker.jetstream)
        await self.at("streams and consumers", lambda: self._shape(inspector))
        await self.at("what waits", lambda: self._waiting(inspector))
        await self.at("how full streams are", lambda: self._streams(inspector))
        await self.at("dead letters", lambda: self._letters(book))
        await self.at("sessions", lambda: self.folders(log))
        await self.at("sessions that the stream knows", lambda: self._known(log, broker))

    async def _shape(self, inspector: Inspector) -> None:
        async for case in bus_checks.look_at_shape(inspector):
            self.cases.append(case)

    async def _waiting(self, inspector: Inspector) -> None:
        async for finding in bus_checks.look_at_queues(
            inspector, copies=self._settings.storage.kind != "none"
        ):
            self._found(finding)

    async def _streams(self, inspector: Inspector) -> None:
        async for finding in bus_checks.look_at_streams(inspector):
            self._found(finding)

    async def _letters(self, book: DeadLetterBook) -> None:
        self._found(*bus_checks.look_at_letters(await book.all()))

    async def folders(self, log: EventLog | None) -> None:
        """Every session's folder; with the stream at hand where there is one."""
        names = await asyncio.to_thread(self._names)
        for name in names:
            folder = await asyncio.to_thread(look_at_folder, self._root / name)
            if log is not None:
                await self._session(log, folder)
            elif folder.sealed:
                await self._sealed(folder, None)
            else:
                self._found(_unknown(folder))

    def _names(self) -> list[str]:
        found = self._root.iterdir() if self._root.is_dir() else ()
        return sorted(path.name for path in found if is_session_id(path.name))

    async def _session(self, log: EventLog, folder: SessionFolder) -> None:
        sealed = await newest_event(log, Fact.SEALED, folder.session_id)
        if folder.sealed:
            event = sealed.event if sealed is not None else None
            await self._sealed(folder, event if isinstance(event, SessionSealed) else None)
            return
        if sealed is not None:
            # Perhaps it was sealed while we looked.
            folder = await asyncio.to_thread(look_at_folder, folder.path)
            if not folder.sealed:
                self._found(_seal_gone(folder))
            return
        self.cases += await asyncio.to_thread(
            lambda: list(look_at_epochs(self._settings, folder.session_id))
        )
        async for finding in look_at_running(log, folder, self._settings.capture.lease_s):
            self._found(finding)

    async def _sealed(self, folder: SessionFolder, told: SessionSealed | None) -> None:
        self.cases += await asyncio.to_thread(
            lambda: list(look_at_sealed(self._settings, folder, told))
        )

    async def _known(self, log: EventLog, broker: RecorderBroker) -> None:
        """Sessions that were sealed: is there a folder, and an entry in the log of sessions?"""
        for session_id in sorted(await known_sessions(broker.jetstream)):
            logged = await newest_event(log, Fact.SEALED, session_id)
            here = await asyncio.to_thread((self._root / session_id).is_dir)
            if logged is None or not isinstance(logged.event, SessionSealed):
                if not here:
                    await self._session(log, look_at_folder(self._root / session_id))
                continue
            if not here:
                self._found(_folder_gone(str(self._root / session_id), logged.event))
            finding = await bus_checks.look_at_log(log, logged.event)
            if finding is not None:
                self._found(finding)

    def _found(self, *findings: Finding) -> None:
        self.cases += [Case(finding=finding) for finding in findings]


def _unknown(folder: SessionFolder) -> Finding:
    return Finding(
        check="session.unsealed",
        severity=Severity.INFO,
        where=str(folder.path),
        what=f"not sealed; {len(folder.segments)} segments, {folder.journal} single records and "
        "checkpoints",
        advice="whether it runs, and what of it is an orphan, only the stream knows: look again "
        "with NATS",
    )


def _seal_gone(folder: SessionFolder) -> Finding:
    return Finding(
        check="session.seal_missing",
        severity=Severity.ERROR,
        where=str(folder.path),
        what=f"expected {keys.SEAL}, for the stream has the fact of it, found none",
        advice="restore the folder from a backup; recorder verify says what is left of it",
    )


def _folder_gone(where: str, sealed: SessionSealed) -> Finding:
    return Finding(
        check="session.folder_missing",
        severity=Severity.WARNING,
        where=where,
        what=f"expected the folder of a sealed session, at {sealed.location}, found none",
        advice="restore it, or, where it was removed on purpose, write down why: recorder log "
        "verify will ask",
    )
