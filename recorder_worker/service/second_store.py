"""Opens the second store that the settings name, and puts the copying on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import structlog

from recorder_worker.bus.background import Background
from recorder_worker.bus.bus import Bus
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.subscriptions import decode_fact
from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BusUnavailableError,
    ImmutableConflictError,
    StoreError,
)
from recorder_worker.core.pipeline import UPLOAD
from recorder_worker.core.receipts.authorities import TimestampAuthority
from recorder_worker.core.retention.sayings import Deletion
from recorder_worker.integrations.second_store.archiver import Archiver
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.late_store import LateStore
from recorder_worker.integrations.second_store.offload import Offload
from recorder_worker.integrations.second_store.patience import Patience, Troubles
from recorder_worker.integrations.second_store.replacing import Ours
from recorder_worker.integrations.second_store.sweep import Sweep
from recorder_worker.integrations.second_store.upload import Upload
from recorder_worker.integrations.storage import StorageReports
from recorder_worker.ports import BlobStore, Clock
from recorder_worker.service.anchors import trusted_authorities
from recorder_worker.service.observing.health import Check
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import AnchorSettings
from recorder_worker.stages.retention.statement_files import StatementFiles

log = structlog.get_logger(__name__)

SECOND_NS = 1_000_000_000
LOOK_S = 5.0
CHECK = "storage"


def open_second_store(settings: StorageSettings, login: Callable[[], Login]) -> BlobStore:
    """The second store of the settings; `login` is that of NATS, for `nats`.

    Raises:
        StoreError: it cannot be opened now.
    """
    # Each is loaded where it is used: a recorder without a second store has nothing of them.
    if settings.kind == "s3":
        from recorder_worker.adapters.s3.client import S3Place  # noqa: PLC0415  (botocore)
        from recorder_worker.adapters.s3.store import S3Store  # noqa: PLC0415  (as above)

        return S3Store(
            S3Place(
                url=settings.endpoint,
                bucket=settings.bucket,
                prefix=settings.prefix,
                region=settings.region,
                access_key_id=settings.access_key_id,
                secret_access_key=settings.secret_access_key,
                session_token=settings.session_token,
                credentials_file=settings.credentials_file,
                ca_file=settings.ca_file,
                timeout_s=settings.timeout_s,
                part_bytes=settings.part_bytes,
            )
        )
    if settings.kind == "nats":
        from recorder_worker.bus.objects.store import ObjectStore  # noqa: PLC0415  (as above)

        return ObjectStore(login(), settings.bucket, settings.prefix)
    if settings.kind == "directory":
        from recorder_worker.adapters.directory_store import (  # noqa: PLC0415  (as above)
            DirectoryStore,
        )

        path = Path(settings.directory)
        if not path.is_dir():
            raise StoreError(
                f"storage.directory: expected a directory at {path}, found none; mount the disk, "
                "or make the directory: it is not made here, where a disk may be missing"
            )
        return DirectoryStore(path / settings.prefix)
    raise StoreError(
        "storage.kind: expected directory, s3 or nats, found none; set it, and what it needs"
    )


@runtime_checkable
class _Closing(Protocol):
    """A store that has something to close."""

    def close(self) -> None: ...


def close_store(store: BlobStore) -> None:
    """End what a store holds open, where it holds anything."""
    if isinstance(store, _Closing):
        store.close()


def claim(store: BlobStore, recorder: str) -> None:
    """Let a place be one recorder's: two would write their logs of sessions over each other.

    Raises:
        StoreError: it is another's, or the store failed.
    """
    try:
        store.put(keys.CLAIM, f"{recorder}\n".encode())
    except ImmutableConflictError as error:
        held = store.get(keys.CLAIM).decode(errors="replace").strip()
        raise StoreError(
            f"{store.location(keys.CLAIM)}: expected this recorder, {recorder}, found "
            f"{held[:200]}; give each recorder a storage.prefix of its own"
        ) from error


class SecondStore:
    """The copying of one process, from the registration on the bus to its end."""

    def __init__(
        self,
        settings: StorageSettings,
        *,
        local: BlobStore,
        login: Callable[[], Login],
        clock: Clock,
        metrics: Metrics,
        node: str,
        statements: Callable[[], StatementFiles | None],
        anchors: AnchorSettings,
    ) -> None:
        self._settings = settings
        self._statements = statements
        self._anchors = anchors
        self._trusted: tuple[TimestampAuthority, ...] = ()
        self._clock = clock
        self._metrics = metrics
        self._node = node
        self._copier = Copier(
            local,
            lambda: self._open(login),
            metrics.copies,
            read_back=settings.read_back,
            deletion_of=self._deletion_of,
        )
        self.late = LateStore(self._copier, clock)
        self._store: BlobStore | None = None
        self._troubles = Troubles(clock, metrics.copies)
        self._patience = Patience(self._troubles, settings.backoff_s)
        self._sweep: Sweep | None = None
        self._bus: Bus | None = None
        self._sweeping = Background(self._sweep_for_ever)
        self._watching = Background(self._watch_for_ever)

    def register(self, bus: Bus, reports: StorageReports) -> str:
        """Let it take facts; gives the name of its consumer.

        The second store's absence is no fault of this process: it is not watched for progress.

        Raises:
            SettingsError: `anchors.tsa_certificates` cannot be read.
        """
        self._trusted = trusted_authorities(self._anchors)
        archiver = Archiver(
            bus.log,
            self._copier,
            self._patience,
            self._clock,
            node=self._node,
            keep_local=self._settings.keep_local == "always",
        )
        upload = Upload(
            bus.log,
            self._copier,
            archiver,
            self._patience,
            self._clock,
            node=self._node,
        )
        bus.register(
            UPLOAD.name,
            by_event(reports, upload),
            decode=decode_fact,
            workers=self._settings.workers,
            progressed=lambda: None,
        )
        self._bus = bus
        self._sweep = Sweep(
            self._copier,
            archiver,
            self._offload(bus, reports),
            self._patience,
            self._clock,
            self._ours,
        )
        return UPLOAD.name

    def start(self) -> None:
        """Begin to look for what no fact tells of."""
        self._sweeping.start()
        self._watching.start()

    async def stop(self) -> None:
        """Copy no more: what is under way ends at its next piece, what waits is given back."""
        self._copier.stop()
        self._patience.stop()
        await self._sweeping.stop()
        await self._watching.stop()
        if self._store is not None:
            await asyncio.to_thread(close_store, self._store)

    def check(self) -> Check:
        """Whether copies get on. Nothing waits for them, and so no readiness is lost by it."""
        trouble = self._troubles.text
        detail = trouble or f"copies go to {self._settings.kind}"
        return Check(CHECK, ok=not trouble, detail=detail, needed=False)

    def _open(self, login: Callable[[], Login]) -> BlobStore:
        if self._store is None:
            self._store = open_second_store(self._settings, login)
        statements = self._statements()
        claim(self._store, statements.recorder if statements is not None else "")
        return self._store

    def _deletion_of(self, session_id: str) -> Deletion | None:
        statements = self._statements()
        return statements.deletion(session_id) if statements is not None else None

    def _ours(self) -> Ours:
        statements = self._statements()
        if statements is None:
            return Ours(recorder="")  # `merkle` has not begun here: nothing is ours yet
        own = tuple(statements.own_keys())
        return Ours(recorder=statements.recorder, log_keys=own, trusted=self._trusted)

    def _offload(self, bus: Bus, reports: StorageReports) -> Offload | None:
        if self._settings.keep_local == "always":
            return None
        return Offload(
            bus.log,
            self._copier,
            self._patience,
            reports,
            self._clock,
            self._metrics.copies,
            node=self._node,
            keep_ns=round(self._settings.keep_local_s * SECOND_NS),
        )

    async def _sweep_for_ever(self) -> None:
        while self._sweeping.running:
            await asyncio.sleep(self._settings.sweep_s)
            if self._sweep is None:
                return
            try:
                await self._sweep.turn(idle=await self._is_idle())
            except (StoreError, BusUnavailableError) as error:
                log.warning("SweepPutOff", error=str(error))
            except Exception as error:
                log.warning("SweepPutOff", error=repr(error), exc_info=error)

    async def _watch_for_ever(self) -> None:
        """How far the copies are behind, for the gauges: no readiness hangs on it."""
        while self._watching.running:
            if self._bus is not None:
                try:
                    found = await self._bus.backlog(UPLOAD.name)
                except (LookupError, TimeoutError) as error:
                    log.debug("BacklogUnknown", stage=UPLOAD.name, error=str(error))
                else:
                    self._metrics.gauges.backlog(UPLOAD.name, found, self._clock.wall_ns())
            await asyncio.sleep(LOOK_S)

    async def _is_idle(self) -> bool:
        if self._bus is None:
            return False
        try:
            found = await self._bus.backlog(UPLOAD.name)
        except (LookupError, TimeoutError):
            return False
        return found.pending + found.ack_pending == 0


def by_event(reports: StorageReports, upload: Upload) -> Callable[[Any], Any]:
    """The handler, which also tells of blobs here that are not what they were."""

    async def handle(message: Any) -> None:  # noqa: ANN401  (as the bus hands it over)
        await reports.watching(UPLOAD.name, lambda _event: upload.handle(message))(message.event)

    return handle
