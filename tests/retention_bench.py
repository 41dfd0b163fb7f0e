"""A sealed session in two stores and in the log of sessions, and keepers that may die."""

from __future__ import annotations

import asyncio
from pathlib import Path

import reference
from memory_signer import MemorySigner
from mortal import Axe, Mortal
from recordings import RECORDER, Recording

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.core import keys
from recorder_worker.core.errors import FencedError
from recorder_worker.core.events import Checkpoint, SessionRetention, Totals
from recorder_worker.core.ids import session_id_for
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.core.signing.signing_keys import KeyKind
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify import Verdict, verify
from recorder_worker.ports import Clock
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.retention.keeper import RetentionKeeper
from recorder_worker.stages.retention.rules import RetentionLimits
from recorder_worker.stages.session_log.log_writer import LogWriter
from recorder_worker.stages.session_log.numbering import number
from recorder_worker.stages.session_log.stage import SessionLogStage
from recorder_worker.stages.stored_recording import StoredRecording

CHUNKS = 3


class Bench:
    """A store with a sealed, logged session, and keepers that remove it."""

    def __init__(self, broker: RecorderBroker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.log = JetStreamEventLog(lambda: broker.jetstream, EventHeaders("node"))
        self.store = DirectoryStore(folder / "first")
        self.second = DirectoryStore(folder / "second")
        self.signer = MemorySigner()
        self.session_id = session_id_for("a session", 1)
        self.root = ""

    async def record(self) -> None:
        """A sealed session of three chunks in both stores, entered in the log."""
        recording = Recording(self.session_id, key=self.signer._device[KeyKind.ED25519])  # type: ignore[arg-type]
        recording.numbered = await number(self.log, self.store, self.session_id)
        recording.open()
        recording.sign()
        for _ in range(CHUNKS):
            recording.chunk(1)
        recording.seal()
        self.root = recording.state.frontier.root().hex()
        for store in (self.store, self.second):
            for name, data in recording.sealed().items():
                store.put(keys.blob_key(self.session_id, name), data)
            store.put(keys.blob_key(self.session_id, keys.thumbnail(0)), b"a picture")
        # The recording is of long ago; a recorder was here until now.
        now_s = SystemClock().wall_ns() // 1_000_000_000
        self.store.replace(keys.RETENTION_CLOCK, str(now_s).encode())
        stage = SessionLogStage(
            log=self.log,
            store=self.store,
            signer=self.signer,
            clock=SystemClock(),
            recorder=RECORDER,
        )
        for size in (1, recording.state.size):
            await stage.handle(
                Checkpoint(
                    session_id=self.session_id,
                    session_counter=recording.numbered.counter,
                    tree_size=size,
                    root_hash="0" * 64,
                    note=recording.notes[size].decode(),
                    totals=Totals(),
                    sealed=size > 1,
                )
            )

    def keeper(
        self,
        axe: Axe | None = None,
        *,
        clock: Clock | None = None,
        steady_s: float = 0,
        **limits: int,
    ) -> RetentionKeeper:
        axe = axe or Axe()
        store = Mortal(self.store, axe, "put", "replace", "delete", "delete_below")
        second = Mortal(self.second, axe, "replace", "delete", "delete_below")
        signer = Mortal(self.signer, axe, "sign_device")
        log = Mortal(self.log, axe, "append", "append_to_all", "emit")
        writer = LogWriter(log=log, store=store, signer=signer, recorder=RECORDER)
        book = RetentionBook(log=log, store=store, signer=signer, writer=writer)
        rules = RetentionLimits(**{"max_age_s": 1, **limits})
        clock = clock or SystemClock()
        return RetentionKeeper([store, second], clock, book, rules, steady_s=steady_s)

    async def tend(self, keeper: RetentionKeeper) -> None:
        """One round, as a worker does: again, where another one was quicker."""
        while True:
            try:
                await keeper.tend()
            except FencedError:
                await asyncio.sleep(0.005)
                continue
            return

    def verdict(self) -> Verdict:
        """Of the product, with which the second implementation has to agree."""
        report = verify(StoredRecording(self.store, self.session_id))
        folder = Path(self.store.location(keys.session_prefix(self.session_id)))
        theirs = reference.check(folder)
        assert theirs["verdict"] == report.verdict, (report.steps, theirs["problem"])
        assert report.root_hash == self.root
        return report.verdict

    def copy_verdict(self) -> Verdict:
        """Of the second store's copy, with which the second implementation has to agree."""
        report = verify(StoredRecording(self.second, self.session_id))
        folder = Path(self.second.location(keys.session_prefix(self.session_id)))
        assert reference.check(folder)["verdict"] == report.verdict
        return report.verdict

    def chunks(self) -> list[str]:
        folders = (keys.CHUNKS, keys.THUMBNAILS)
        return [
            key
            for store in (self.store, self.second)
            for folder in folders
            for key in store.keys(keys.blob_key(self.session_id, folder))
        ]

    async def check_removed(self) -> None:
        """Gone in both stores, signed once, entered once, told once, and proved."""
        assert self.verdict() is Verdict.REDACTED
        assert self.copy_verdict() is Verdict.REDACTED
        assert self.chunks() == []
        report = verify(StoredRecording(self.store, self.session_id))
        removal = report.retention.removal
        assert removal is not None
        assert (removal.finished, removal.logged, removal.rule) == (True, True, "max_age_s")
        writer = LogWriter(log=self.log, store=self.store, signer=self.signer, recorder=RECORDER)
        await writer.settle()
        kinds = [entry.kind for entry in writer.known.entries]
        assert kinds == [EntryKind.OPEN, EntryKind.SEAL, EntryKind.DELETE, EntryKind.TOMBSTONE]
        told = [logged.event async for logged in self.log.read(Fact.RETENTION, self.session_id)]
        assert [event.kind for event in told if isinstance(event, SessionRetention)] == [
            "delete",
            "tombstone",
        ]
