"""The way out for spans: a bounded queue and a thread; what does not fit is dropped and counted.

The SDK's own batch processor drops what does not fit as well, and tells nobody how much. So no more
is given to it than its queue has room for. A collector that is away or slow costs the spans, never
a message: nothing here waits but the thread that sends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

log = structlog.get_logger(__name__)

QUEUE_SPANS = 2048
BATCH_SPANS = 256
SEND_EVERY_MS = 1000
SAY_EVERY_S = 60.0

Counted = Callable[[str, int], None]
"""What became of so many spans: `exported`, `failed` or `dropped`."""

# It says at every attempt that a collector is away, as an error: we say it once a minute, as what
# it is. Nothing of a recording is lost.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class CountedExporter(SpanExporter):
    """An exporter whose results are counted, and whose failures are said now and then."""

    def __init__(self, inner: SpanExporter, counted: Counted) -> None:
        self._inner = inner
        self._counted = counted
        self._say_at_s = 0.0
        self.taken = 0
        """How many spans have left the queue. Only the sending thread counts, here and below."""
        self.settled = 0
        """Of how many it is known what became of them."""
        self.closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; blocks for as long as the inner exporter does."""
        self.taken += len(spans)
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001  (whatever it is, the thread must live)
            self._say(len(spans), repr(error))
            result = SpanExportResult.FAILURE
        else:
            if result is not SpanExportResult.SUCCESS:
                self._say(len(spans), "the collector is away, slow, or refuses them")
        if not self.closed:
            self.settled += len(spans)
            ok = result is SpanExportResult.SUCCESS
            self._counted("exported" if ok else "failed", len(spans))
        return result

    def shutdown(self) -> None:
        """Wait for no answer any more."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held here."""
        return self._inner.force_flush(timeout_millis)

    def _say(self, count: int, error: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._say_at_s:
            self._say_at_s = now_s + SAY_EVERY_S
            log.warning("SpansNotExported", count=count, error=error)


class Outlet(SpanProcessor):
    """Takes spans that have ended; never blocks."""

    def __init__(
        self, exporter: SpanExporter, counted: Counted, queue_spans: int = QUEUE_SPANS
    ) -> None:
        self._counted = counted
        self._queue_spans = queue_spans
        self._given = 0
        self._lock = threading.Lock()
        self._closed = False
        self._exporter = CountedExporter(exporter, counted)
        self._batches = BatchSpanProcessor(
            self._exporter,
            max_queue_size=queue_spans,
            schedule_delay_millis=SEND_EVERY_MS,
            max_export_batch_size=min(BATCH_SPANS, queue_spans),
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Only spans that have ended are of interest."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, or drop it where there is no room or nobody sends any more."""
        with self._lock:
            room = self._given - self._exporter.taken < self._queue_spans
            if room and not self._closed:
                self._given += 1
        if not room or self._closed:
            self._counted("dropped", 1)
            return
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """As the SDK would: blocks for as long as it takes. `close` does not."""
        self._closed = True
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # as upstream

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what is queued; blocks."""
        return self._batches.force_flush(timeout_millis)

    async def close(self, timeout_s: float) -> None:
        """Send what is queued, within that time; what is left then is dropped and counted.

        In a thread that ends with the process: one of an executor would be waited for at exit, and
        with it a collector that does not answer.
        """
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def finish() -> None:
            self.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=finish, name="spans", daemon=True).start()
        try:
            async with asyncio.timeout(timeout_s):
                await done.wait()
        except TimeoutError:
            self._exporter.closed = True
            self._exporter.shutdown()
            left = self._given - self._exporter.settled
            if left:
                self._counted("dropped", left)
