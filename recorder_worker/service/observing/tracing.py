"""Tracing as the settings want it; without a collector the SDK is not even loaded."""

from __future__ import annotations

from recorder_worker import __version__
from recorder_worker.ports import NoTracing, Tracing
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.tree import Settings


def tracing_of(settings: Settings, node: str, metrics: Metrics) -> Tracing:
    """The tracing of a process."""
    wanted = settings.tracing
    if not wanted.otlp_endpoint:
        return NoTracing()
    from recorder_worker.adapters.otel.tracing import (  # noqa: PLC0415  (takes a third of a second)
        Collector,
        OtelTracing,
    )

    collector = Collector(
        endpoint=wanted.otlp_endpoint,
        timeout_s=wanted.timeout_s,
        sample_ratio=wanted.sample_ratio,
        service_name=wanted.service_name,
        version=__version__,
        node=node,
    )
    return OtelTracing(collector, metrics.gauges.spans)
