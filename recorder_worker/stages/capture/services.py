"""What every capture session shares: the ports, the node it runs on, the limits it keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from recorder_worker.core.events import SessionNumbered
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.model import RecordingPolicy
from recorder_worker.ports import (
    BlobStore,
    CipherKeys,
    Clock,
    ControlFeed,
    Delivery,
    EventLog,
    KeyframeDecoder,
    KeyWrap,
    Optics,
    PacketOpener,
    SourceOpener,
    StageMetrics,
)
from recorder_worker.stages.capture.governor import Governor
from recorder_worker.stages.capture.reading.picture_watch import WatchPolicy
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.capture.segments.thumbnails import ThumbnailPolicy
from recorder_worker.stages.capture.segments.write_watch import WriteWatch
from recorder_worker.stages.gate import CommandGate
from recorder_worker.stages.rejection import Rejections


class NodeIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which machine and which software records."""

    node: str
    boot_id: str
    software: str
    software_blake3: str
    worker: str


class CapturePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set about capture. `thumbnails` None: there are none."""

    default_fps: float
    max_fps: float
    pre_record_max_bytes: int
    segment: SegmentLimits
    keyframes: KeyframePolicy
    retry_s: float
    queue_segments: int
    start_wait_s: float
    longest_session_s: float
    recording: RecordingPolicy
    watch: WatchPolicy
    thumbnails: ThumbnailPolicy | None


@dataclass(frozen=True, kw_only=True)
class CaptureServices:
    """The ports of the capture stage. `key_wrap` None: new sessions are not encrypted.

    `got_on` is told of a start whose session has got further here than whoever had it before.
    """

    log: EventLog
    store: BlobStore
    clock: Clock
    metrics: StageMetrics
    controls: ControlFeed
    gate: CommandGate
    rejections: Rejections
    open_source: SourceOpener
    optics: Optics
    open_packets: PacketOpener
    keyframes: KeyframeDecoder
    number: Callable[[str], Awaitable[SessionNumbered]]
    cipher_keys: CipherKeys
    key_wrap: KeyWrap | None
    identity: NodeIdentity
    policy: CapturePolicy
    governor: Governor
    writes: WriteWatch
    got_on: Callable[[Delivery], Awaitable[None]]
