"""Metrics of the second store: what was copied, how, and whether it gets on."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from recorder_worker.ports import Checked

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class CopyMeters:
    """A `CopyMetrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._copies = Counter(
            "recorder_copies_total",
            "Blobs in the second store, by how their digest was found.",
            ["checked"],
            registry=registry,
        )
        self._bytes = Counter(
            "recorder_copied_bytes_total", "Bytes sent to the second store.", registry=registry
        )
        self._seconds = Histogram(
            "recorder_copy_seconds",
            "Time to send a blob and check it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._failures = Counter(
            "recorder_copy_failures_total",
            "Tries that the second store failed; each is tried again.",
            registry=registry,
        )
        self._damaged = Counter(
            "recorder_copies_damaged_total",
            "Copies that did not come back as they were sent; each is sent again.",
            registry=registry,
        )
        self._ok = Gauge(
            "recorder_second_store_ok_state",
            "1 while copies get on, 0 while the second store fails; 1 also where there is none.",
            registry=registry,
        )
        self._offloaded = Counter(
            "recorder_offloaded_bytes_total",
            "Bytes of chunks that were removed here, being in the second store.",
            registry=registry,
        )
        self._ok.set(1)
        for checked in get_args(Checked):
            self._copies.labels(checked)

    def copied(self, checked: Checked, sent_bytes: int, seconds: float) -> None:
        """A blob is there and was checked."""
        self._copies.labels(checked).inc()
        self._bytes.inc(sent_bytes)
        self._seconds.observe(seconds)

    def copy_damaged(self) -> None:
        """What was sent did not come back."""
        self._damaged.inc()

    def copy_failed(self) -> None:
        """The second store failed."""
        self._failures.inc()

    def second_store(self, *, ok: bool) -> None:
        """Whether copies get on."""
        self._ok.set(ok)

    def offloaded(self, removed_bytes: int) -> None:
        """The chunks of a session were removed here."""
        self._offloaded.inc(removed_bytes)
