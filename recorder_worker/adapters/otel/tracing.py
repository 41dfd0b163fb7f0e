"""One session is one trace: spans of what stages do, chained by the headers of their messages.

The header of every event names a trace, which is the session's UUID, and a span, which is a digest
of the event (bus/headers.py). Here that span is made: `publish session.captured`, with this very
id, below the span of the handler that published it. Whoever handles the event next has it as the
parent, in whichever process. Nothing has to be kept, and a redelivery gets the same ids.

A lease lasts as long as its session. Its span ends with the first event that comes of it, for a
span is shown only when it has ended.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import msgspec
import structlog
from blake3 import blake3
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from recorder_worker.adapters.otel.outlet import Counted, Outlet
from recorder_worker.core.errors import (
    FencedError,
    LeaseLostError,
    LeaseReleasedError,
    OutOfOrderError,
)
from recorder_worker.ports import Published, Taken

STOP_S = 1.0
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_IN_TURN = (OutOfOrderError, FencedError)
"""The message comes again in a moment, as it should: a span for each try would be noise."""
_HANDED_ON = (LeaseLostError, LeaseReleasedError)

_HANDLER: ContextVar[Span | None] = ContextVar("handler", default=None)
_NEXT: ContextVar[tuple[int, int]] = ContextVar("next", default=(0, 0))


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """Where spans go, how many of the sessions are traced, and who we are there."""

    endpoint: str
    timeout_s: float
    sample_ratio: float
    service_name: str
    version: str
    node: str


class _Ids(IdGenerator):
    """The ids that `_NEXT` asks for, else random ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        return _NEXT.get()[0] or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        return _NEXT.get()[1] or self._random.generate_span_id()


class OtelTracing:
    """`Tracing` by OTLP over HTTP; `exporter` takes its place in tests."""

    def __init__(
        self, collector: Collector, counted: Counted, exporter: SpanExporter | None = None
    ) -> None:
        self._ratio = collector.sample_ratio
        self._outlet = Outlet(exporter or _otlp(collector), counted)
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create(
                {
                    "service.name": collector.service_name,
                    "service.version": collector.version,
                    "host.name": collector.node,
                }
            ),
            id_generator=_Ids(),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._outlet)
        self._tracer = provider.get_tracer("recorder_worker", collector.version)

    def handling(self, taken: Taken) -> AbstractContextManager[None]:
        """While a stage works on a message; an exception that passes through is noted."""
        trace_id = trace_of(taken.session_id)
        if not self._sampled(trace_id):
            return nullcontext()
        return self._handling(taken, trace_id)

    @contextmanager
    def _handling(self, taken: Taken, trace_id: int) -> Iterator[None]:
        sender = _context_of(taken.traceparent)
        ours = sender is not None and sender.trace_id == trace_id
        span = self._start(
            f"{taken.stage} {taken.kind}",
            SpanKind.CONSUMER,
            trace_id,
            parent=sender if ours else None,
            # A client's own trace goes on in its own right: the two point at each other.
            links=() if ours or sender is None else (Link(sender),),
            attributes={
                "messaging.system": "nats",
                "messaging.operation.type": "process",
                "messaging.destination.name": taken.kind,
                "messaging.consumer.group.name": taken.stage,
                "messaging.message.body.size": taken.size,
                "session.id": taken.session_id,
                "recorder.stage": taken.stage,
                "recorder.deliveries": taken.deliveries,
                "recorder.waited_ms": max(0, time.time_ns() - taken.stored_ns) // 1_000_000,
                "recorder.lease": taken.lease,
            },
        )
        made = span.get_span_context()
        token = _HANDLER.set(span)
        names = {"trace_id": f"{made.trace_id:032x}", "span_id": f"{made.span_id:016x}"}
        try:
            with structlog.contextvars.bound_contextvars(**names):
                yield
        except _IN_TURN:
            raise  # never ended, and so never sent
        except BaseException as error:
            _note(span, error)
            _end(span)
            raise
        else:
            _end(span)
        finally:
            _HANDLER.reset(token)

    def published(self, published: Published) -> None:
        """An event was stored: its span is the parent of whatever is done about it elsewhere."""
        made = _context_of(published.traceparent)
        if made is None or not self._sampled(made.trace_id):
            return
        handler = _HANDLER.get()
        above = handler.get_span_context() if handler is not None else None
        ours = above is not None and above.trace_id == made.trace_id
        span = self._start(
            f"publish {published.fact.value}",
            SpanKind.PRODUCER,
            made.trace_id,
            parent=above if ours else None,
            links=() if ours or above is None else (Link(above),),
            attributes={
                "messaging.system": "nats",
                "messaging.operation.type": "send",
                "messaging.destination.name": published.fact.value,
                "messaging.message.body.size": published.size,
                "session.id": published.session_id,
            },
            span_id=made.span_id,
            began_ns=published.began_ns,
        )
        span.end()
        if handler is not None and _is_lease(handler):
            _end(handler)

    async def stop(self) -> None:
        """Send what is left, within a moment."""
        await self._outlet.close(STOP_S)

    def _start(
        self,
        name: str,
        kind: SpanKind,
        trace_id: int,
        *,
        parent: SpanContext | None,
        links: tuple[Link, ...],
        attributes: dict[str, str | int],
        span_id: int = 0,
        began_ns: int | None = None,
    ) -> Span:
        context = Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(parent), context)
        token = _NEXT.set((trace_id, span_id))
        try:
            return self._tracer.start_span(
                name,
                context=context,
                kind=kind,
                links=links,
                attributes=attributes,
                start_time=began_ns,
            )
        finally:
            _NEXT.reset(token)

    def _sampled(self, trace_id: int) -> bool:
        """Whole sessions or nothing, and the same on every worker.

        By a digest: some bits of a UUID are the same in all of them, so the rule that OpenTelemetry
        has for random ids would take all sessions or none.
        """
        if trace_id == 0:
            return False
        digest = blake3(trace_id.to_bytes(16, "big")).digest(length=8)
        return int.from_bytes(digest, "big") < self._ratio * 2**64


def trace_of(session_id: str) -> int:
    """The trace of a session: its UUID; 0 for what is none."""
    try:
        return uuid.UUID(session_id).int
    except ValueError:
        return 0


def _context_of(traceparent: str) -> SpanContext | None:
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    context = SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(1)
    )
    return context if context.is_valid else None


def _is_lease(span: Span) -> bool:
    return span.is_recording() and bool(getattr(span, "attributes", {}).get("recorder.lease"))


def _note(span: Span, error: BaseException) -> None:
    if not span.is_recording():
        return
    span.set_attribute("recorder.error", type(error).__name__)
    if not isinstance(error, _HANDED_ON):
        span.set_status(Status(StatusCode.ERROR, str(error)[:200]))


def _end(span: Span) -> None:
    if span.is_recording():
        span.end()


def _otlp(collector: Collector) -> SpanExporter:
    """Headers and certificates are taken from OpenTelemetry's own variables."""
    base = collector.endpoint.rstrip("/")
    path = "" if base.endswith("/v1/traces") else "/v1/traces"
    return OTLPSpanExporter(endpoint=base + path, timeout=collector.timeout_s)
