"""One session is one trace, over all stages and processes; a collector can do no harm."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import nats
import pytest
from nats_process import NatsProcess
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from span_collector import SpanCollector, SpanSeen, span_collector
from worker_process import WorkerProcess

from recorder_worker.adapters.otel.outlet import Outlet
from recorder_worker.adapters.otel.tracing import Collector, OtelTracing, trace_of
from recorder_worker.bus.client import RecorderClient
from recorder_worker.core.errors import OutOfOrderError, PermanentError
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Published, Taken
from recorder_worker.service.observing.logs import configure
from recorder_worker.service.settings.tree import LogSettings, TracingSettings

SMALL = {"kind": "pattern", "width": 64, "height": 48, "frames": 30, "pace": "fast"}
CLIENT_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CHAIN = (
    "log session.checkpoint",
    "publish session.checkpoint",
    "merkle session.compressed",
    "publish session.compressed",
    "compress session.chunked",
    "publish session.chunked",
    "chunk session.captured",
    "publish session.captured",
    "capture session.start",
)
"""From the entry in the log of sessions back to the command, each the parent of the one before."""


def collector(**fields: Any) -> Collector:  # noqa: ANN401  (fields of Collector)
    defaults: dict[str, Any] = {
        "endpoint": "http://127.0.0.1:1",
        "timeout_s": 1.0,
        "sample_ratio": 1.0,
        "service_name": "recorder-test",
        "version": "1",
        "node": "n1",
    }
    return Collector(**(defaults | fields))


def taken(session_id: str, **fields: Any) -> Taken:  # noqa: ANN401  (fields of Taken)
    defaults: dict[str, Any] = {
        "stage": "chunk",
        "kind": "session.captured",
        "session_id": session_id,
        "traceparent": "",
        "size": 10,
        "deliveries": 1,
        "stored_ns": time.time_ns(),
        "lease": False,
    }
    return Taken(**(defaults | fields))


def published(session_id: str, span_id: str) -> Published:
    return Published(
        fact=Fact.CHUNKED,
        session_id=session_id,
        traceparent=f"00-{uuid.UUID(session_id).hex}-{span_id}-01",
        size=3,
        began_ns=time.time_ns(),
    )


class Counts(dict[str, int]):
    def __call__(self, outcome: str, count: int) -> None:
        self[outcome] = self.get(outcome, 0) + count


# --- over processes -------------------------------------------------------------------------------


async def until_whole(found: SpanCollector, trace_id: str) -> dict[str, SpanSeen]:
    """Wait until the seal has gone through the last stage, and every process has sent its part."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            spans = found.of(trace_id)
            names = [span.name for span in spans.values()]
            parents = {span.parent_id for span in spans.values()} - {""}
            sealed = "publish session.sealed" in names
            if sealed and names.count("publish session.logged") >= 2 and parents <= set(spans):
                return spans
            await asyncio.sleep(POLL_S)


def chain_from(span: SpanSeen, spans: dict[str, SpanSeen]) -> tuple[str, ...]:
    names = [span.name]
    while span.parent_id:
        span = spans[span.parent_id]
        names.append(span.name)
    return tuple(names)


@pytest.mark.timeout(300)
async def test_four_processes_make_one_trace_of_one_session(tmp_path: Path) -> None:
    async with span_collector() as found:
        env = {
            "RECORDER_TRACING__OTLP_ENDPOINT": found.url,
            "RECORDER_TRACING__SERVICE_NAME": "recorder-test",
            "RECORDER_DATA_DIR": str(tmp_path / "data"),
            "RECORDER_DISK__FLOOR_BYTES": "1",
            "RECORDER_NATS__MAX_BYTES": str(2**30),
        }
        with NatsProcess(tmp_path / "nats") as server:
            env["RECORDER_NATS__URL"] = server.url
            stages = ("merkle", "compress", "chunk", "capture")
            workers = {s: WorkerProcess(tmp_path, s, env=env) for s in stages}
            await asyncio.gather(*(asyncio.to_thread(w.start) for w in workers.values()))
            try:
                await _one_session(server.url, found, workers)
            finally:
                codes = await asyncio.gather(
                    *(asyncio.to_thread(worker.terminate) for worker in workers.values())
                )
            assert codes == [0, 0, 0, 0]


async def _one_session(url: str, found: SpanCollector, workers: dict[str, WorkerProcess]) -> None:
    session_id = str(uuid.uuid4())
    async with RecorderClient.connect(url) as client:
        bus = await nats.connect(url)
        await bus.jetstream().publish(
            "session.start",
            json.dumps({"session_id": session_id, "source": SMALL}).encode(),
            headers={"traceparent": f"00-{CLIENT_TRACE}-00f067aa0ba902b7-01"},
        )
        await client.wait_sealed(session_id, DEADLINE_S)
        await bus.close()
    trace_id = uuid.UUID(session_id).hex
    spans = await until_whole(found, trace_id)
    assert {span.trace_id for span in found.spans} == {trace_id}, "one session, one trace"
    [capture] = [span for span in spans.values() if span.name == "capture session.start"]
    assert (capture.parent_id, capture.links) == ("", (CLIENT_TRACE,)), "the client's own is linked"
    logged = [span for span in spans.values() if span.name == CHAIN[0]]
    assert logged
    for span in logged:
        assert chain_from(span, spans) == CHAIN
    for span in spans.values():
        assert span.attributes["session.id"] == session_id
        assert session_id not in span.name, "names take few values"
        assert (span.service, span.scope, span.failed) == (
            "recorder-test",
            "recorder_worker",
            False,
        )
        assert span.began_ns <= span.ended_ns
        above = spans.get(span.parent_id)
        if above is not None:
            assert above.began_ns <= span.ended_ns
    merkle = next(span for span in spans.values() if span.name == "merkle session.compressed")
    assert merkle.attributes["recorder.stage"] == "merkle"
    assert merkle.attributes["messaging.system"] == "nats"
    line = workers["merkle"].logged("SessionSealed")
    assert line["trace_id"] == trace_id
    assert spans[line["span_id"]].name == "merkle session.compressed", "logs lead to spans"


async def test_a_collector_that_never_answers_delays_neither_a_session_nor_the_end(
    tmp_path: Path,
) -> None:
    async with span_collector() as found:
        found.slow_s = 3600.0
        tracing = TracingSettings(otlp_endpoint=found.url, timeout_s=60.0)
        recorder = RunningRecorder(settings_in(tmp_path, tracing=tracing))
        async with recorder:
            _, report = await recorder.record(SMALL)
            assert str(report.verdict) == "COMPLETE"
            async with asyncio.timeout(DEADLINE_S):
                while not found.requests:
                    await asyncio.sleep(POLL_S)
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 30.0, "a second for spans, the rest for everything else"
        value = recorder._worker.metrics.registry.get_sample_value
        assert (value("recorder_spans_total", {"outcome": "dropped"}) or 0) > 0
        assert value("recorder_spans_total", {"outcome": "exported"}) is None


async def test_a_collector_that_is_away_costs_the_spans_and_is_said_once(tmp_path: Path) -> None:
    tracing = TracingSettings(otlp_endpoint="http://127.0.0.1:9", timeout_s=0.5)
    out = io.StringIO()
    async with RunningRecorder(settings_in(tmp_path, tracing=tracing)) as recorder:
        configure(LogSettings(format="json"), out)
        _, report = await recorder.record(SMALL)
        assert str(report.verdict) == "COMPLETE"
        value = recorder._worker.metrics.registry.get_sample_value
        async with asyncio.timeout(DEADLINE_S):
            while not value("recorder_spans_total", {"outcome": "failed"}):
                await asyncio.sleep(POLL_S)
    said = [line for line in out.getvalue().splitlines() if "SpansNotExported" in line]
    assert len(said) == 1
    assert json.loads(said[0])["level"] == "warning", "nothing of a recording is lost"


# --- what becomes a span --------------------------------------------------------------------------


def flushed(tracing: OtelTracing, kept: InMemorySpanExporter) -> list[ReadableSpan]:
    tracing._outlet.force_flush()
    return sorted(kept.get_finished_spans(), key=lambda span: span.start_time or 0)


def hex_id(number: int) -> str:
    return f"{number:016x}"


async def test_spans_of_one_process_are_chained_by_the_headers_alone() -> None:
    kept = InMemorySpanExporter()
    tracing = OtelTracing(collector(), Counts(), kept)
    session_id = str(uuid.uuid4())
    before = f"00-{uuid.UUID(session_id).hex}-{'ab' * 8}-01"
    with tracing.handling(taken(session_id, traceparent=before, deliveries=3)):
        tracing.published(published(session_id, "cd" * 8))
    handler, sent = flushed(tracing, kept)
    assert (handler.name, sent.name) == ("chunk session.captured", "publish session.chunked")
    assert handler.parent is not None
    assert hex_id(handler.parent.span_id) == "ab" * 8
    assert sent.parent is not None
    assert sent.parent.span_id == handler.context.span_id
    assert hex_id(sent.context.span_id) == "cd" * 8, "what the header says"
    assert {handler.context.trace_id, sent.context.trace_id} == {trace_of(session_id)}
    assert (handler.attributes or {})["recorder.deliveries"] == 3
    await tracing.stop()


async def test_an_error_is_on_its_span_and_waiting_ones_turn_is_no_span() -> None:
    kept = InMemorySpanExporter()
    tracing = OtelTracing(collector(), Counts(), kept)
    session_id = str(uuid.uuid4())
    with pytest.raises(OutOfOrderError), tracing.handling(taken(session_id)):
        raise OutOfOrderError("leaf 3 waits for leaf 2")
    with pytest.raises(PermanentError), tracing.handling(taken(session_id)):
        raise PermanentError("the segment is damaged")
    [span] = flushed(tracing, kept)
    assert not span.status.is_ok
    assert span.status.description == "the segment is damaged"
    assert (span.attributes or {})["recorder.error"] == "PermanentError"
    await tracing.stop()


async def test_the_span_of_a_lease_ends_with_the_first_event_that_comes_of_it() -> None:
    kept = InMemorySpanExporter()
    tracing = OtelTracing(collector(), Counts(), kept)
    session_id = str(uuid.uuid4())
    with tracing.handling(taken(session_id, stage="capture", kind="session.start", lease=True)):
        tracing.published(published(session_id, "01" * 8))
        names = [span.name for span in flushed(tracing, kept)]
        assert names == ["capture session.start", "publish session.chunked"], "not hours later"
        tracing.published(published(session_id, "02" * 8))
    spans = flushed(tracing, kept)
    assert len(spans) == 3
    assert spans[2].parent is not None
    assert spans[2].parent.span_id == spans[0].context.span_id
    await tracing.stop()


@pytest.mark.parametrize("text", ["", "00-x", f"00-{'0' * 32}-{'1' * 16}-01", "zz-" + "a" * 60])
async def test_a_header_that_is_no_trace_context_is_no_parent(text: str) -> None:
    kept = InMemorySpanExporter()
    tracing = OtelTracing(collector(), Counts(), kept)
    with tracing.handling(taken(str(uuid.uuid4()), traceparent=text)):
        pass
    with tracing.handling(taken("unknown", traceparent=text)):
        pass
    [span] = flushed(tracing, kept)
    assert span.parent is None
    assert not span.links
    await tracing.stop()


@pytest.mark.parametrize("make", [uuid.uuid4, uuid.uuid1], ids=["v4", "v1"])
async def test_a_session_is_sampled_as_a_whole_and_by_every_worker_alike(make: Any) -> None:  # noqa: ANN401  (functions of uuid)
    one, other, kept = Counts(), Counts(), InMemorySpanExporter()
    first = OtelTracing(collector(sample_ratio=0.25), one, kept)
    second = OtelTracing(collector(sample_ratio=0.25), other, InMemorySpanExporter())
    sessions = [str(make()) for _ in range(2000)]
    chosen = {s for s in sessions if first._sampled(trace_of(s))}
    assert chosen == {s for s in sessions if second._sampled(trace_of(s))}
    assert 400 < len(chosen) < 600, "a quarter, also of ids that are not random in every bit"
    left_out = next(s for s in sessions if s not in chosen)
    with first.handling(taken(left_out)):
        first.published(published(left_out, "ab" * 8))
    assert flushed(first, kept) == []
    await first.stop()
    await second.stop()


# --- the way out ----------------------------------------------------------------------------------


class Stuck(SpanExporter):
    """An exporter that takes one batch and does not come back until it is told to."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ANN401  (as upstream)
        del spans
        self.entered.set()
        self.go_on.wait()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


async def test_what_does_not_fit_is_dropped_and_counted_and_nobody_waits() -> None:
    counts, stuck = Counts(), Stuck()
    tracing = OtelTracing(collector(), counts, InMemorySpanExporter())
    tracing._outlet.shutdown()
    tracing._outlet = Outlet(stuck, counts, queue_spans=8)
    span = tracing._tracer.start_span("x")
    began_s = time.monotonic()
    for _ in range(8):
        tracing._outlet.on_end(span)  # type: ignore[arg-type]  # the SDK's own Span is one
    await asyncio.to_thread(stuck.entered.wait, DEADLINE_S)
    for _ in range(20):
        tracing._outlet.on_end(span)  # type: ignore[arg-type]  # as above
    assert time.monotonic() - began_s < DEADLINE_S
    assert counts["dropped"] == 12, "8 are on their way, 8 fit behind them"
    await tracing._outlet.close(0.1)
    assert counts == {"dropped": 28}, "what was on its way is given up at the end, and counted"
    stuck.go_on.set()


def test_without_a_collector_the_sdk_is_not_loaded() -> None:
    script = (
        "import sys\n"
        "from recorder_worker.service.observing.metrics import Metrics\n"
        "from recorder_worker.service.settings.tree import Settings\n"
        "from recorder_worker.service.observing.tracing import tracing_of\n"
        "import recorder_worker.service.worker\n"
        "print(type(tracing_of(Settings(), 'n', Metrics(version='1', node='n'))).__name__)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert ended.stdout.splitlines() == ["NoTracing", "[]"]
