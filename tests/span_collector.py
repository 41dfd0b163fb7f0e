"""A collector of traces: takes OTLP over HTTP as a real one does, and keeps the spans."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class SpanSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One span as it came over the wire; ids in hexadecimal, empty where there is none."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: dict[str, str | int | bool]
    began_ns: int
    ended_ns: int
    failed: bool
    service: str
    scope: str


class SpanCollector:
    """`slow_s` is how long it takes to answer; the status of its answers can be set too."""

    def __init__(self) -> None:
        self.spans: list[SpanSeen] = []
        self.requests = 0
        self.slow_s = 0.0
        self.answer = 200
        self.url = ""

    def of(self, trace_id: str) -> dict[str, SpanSeen]:
        """The spans of a trace by their ids."""
        return {span.span_id: span for span in self.spans if span.trace_id == trace_id}

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests += 1
        await asyncio.sleep(self.slow_s)
        if self.answer != 200:
            return web.Response(status=self.answer)
        assert request.content_type == "application/x-protobuf"
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )


@asynccontextmanager
async def span_collector() -> AsyncIterator[SpanCollector]:
    """One that listens on a free port."""
    collector = SpanCollector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


def _spans(request: ExportTraceServiceRequest) -> list[SpanSeen]:
    found = []
    for resource in request.resource_spans:
        of = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {
                    one.key: getattr(one.value, str(one.value.WhichOneof("value")))
                    for one in span.attributes
                }
                found.append(
                    SpanSeen(
                        name=span.name,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        links=tuple(link.trace_id.hex() for link in span.links),
                        attributes=attributes,
                        began_ns=span.start_time_unix_nano,
                        ended_ns=span.end_time_unix_nano,
                        failed=span.status.code == 2,
                        service=of.get("service.name", ""),
                        scope=scope.scope.name,
                    )
                )
    return found
