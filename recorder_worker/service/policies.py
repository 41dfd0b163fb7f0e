"""From settings to what each part has to know, in the units that it uses."""

from __future__ import annotations

from recorder_worker.bus.bus import BusSettings
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.connection.tls import TlsFiles
from recorder_worker.bus.disposition import RetryLimits
from recorder_worker.bus.streams.consumers import ConsumerLimits
from recorder_worker.bus.streams.topology import StreamLimits
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.load.back_pressure import BackPressureLimits
from recorder_worker.core.load.disk_ladder import DiskLimits
from recorder_worker.core.load.hysteresis import Marks
from recorder_worker.core.load.rate_ladder import LadderLimits
from recorder_worker.core.model import RecordingPolicy
from recorder_worker.core.pipeline import STAGES
from recorder_worker.core.quality.conditions import Condition
from recorder_worker.core.quality.judge import QualityPolicy
from recorder_worker.core.sources.rules import SourceRules
from recorder_worker.service.settings.pictures import QualitySettings, ThumbnailSettings
from recorder_worker.service.settings.tree import AuthSettings, Settings
from recorder_worker.stages.capture.governor import LoadLimits
from recorder_worker.stages.capture.reading.picture_watch import WatchPolicy
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.capture.segments.thumbnails import ThumbnailPolicy
from recorder_worker.stages.capture.services import CapturePolicy

SECOND_NS = 1_000_000_000
SMALL_PICTURE_PIXELS = 320
"""Longer side of what is judged. Its thresholds were measured at this size (docs/quality.md)."""
SHARE_OF_MAX_AGE = 0.9
"""A session ends before its first events age out of the stream: without them nobody could take it
over, or stop it."""
OWN_FOLDERS = (
    *(".tmp", "attempts", "audit", "copies", "copies-told", "keys", "log"),
    *("nats", "patrol", "sessions"),
)
"""Below the data directory: nothing there is a source."""
CONTROL_WORKERS = 2
"""The bus gives out one command at a time, over all processes. While one handles it, the request of
the other for the next one waits at the server already."""
OWNERS_WORKERS = 1
LOG_WORKERS = 3
"""Entries of the log of sessions are made one behind the other, under a lock. Most checkpoints make
none: while one of three is at an entry, the others let those pass."""


def runs_all_stages(settings: Settings) -> bool:
    """Whether this process is a whole recorder."""
    return {stage.name for stage in STAGES} == set(settings.stages)


def login(settings: Settings, urls: tuple[str, ...], name: str) -> Login:
    """Where NATS is and who we are there."""
    nats = settings.nats
    return Login(
        servers=urls,
        user=nats.user,
        password=nats.password,
        token=nats.token,
        credentials=nats.credentials,
        tls=TlsFiles(ca=nats.tls_ca, cert=nats.tls_cert, key=nats.tls_key),
        api_prefix=nats.api_prefix,
        owner=nats.owner,
        connect_timeout_s=nats.connect_timeout_s,
        name=name,
    )


def bus_settings(settings: Settings, node: str, urls: tuple[str, ...]) -> BusSettings:
    """What the bus has to know."""
    return BusSettings(
        login=login(settings, urls, f"recorder {node} {'+'.join(settings.stages)}"),
        node=node,
        manage=settings.nats.manage,
        streams=StreamLimits(
            replicas=settings.nats.replicas,
            max_age_s=settings.nats.max_age_s,
            audit_max_age_s=settings.audit.max_age_s,
            audit_max_bytes=settings.audit.max_bytes,
            max_bytes=settings.nats.max_bytes,
            duplicate_window_s=settings.nats.duplicate_window_s,
            token_buckets=token_buckets(settings.auth),
            object_bucket=settings.storage.object_bucket,
            object_max_bytes=settings.storage.nats_max_bytes,
        ),
        consumers=ConsumerLimits(
            lease_s=settings.capture.lease_s,
            chunk_ack_wait_s=settings.chunk.ack_wait_s,
            compress_ack_wait_s=settings.compress.ack_wait_s,
            merkle_ack_wait_s=settings.merkle.ack_wait_s,
        ),
        retry=RetryLimits(
            backoff_s=settings.retry.backoff_s,
            max_deliver=settings.retry.max_deliver,
            max_crashes=settings.retry.max_crashes,
        ),
    )


def load_limits(settings: Settings) -> LoadLimits:
    """When sessions are slowed down, and how far."""
    load = settings.load
    return LoadLimits(
        ladder=LadderLimits(
            window_ns=round(load.window_s * SECOND_NS),
            late_high=load.late_high,
            late_low=load.late_low,
            calm_windows=load.calm_windows,
            lowest_fps=load.lowest_fps,
        ),
        pressure=BackPressureLimits(
            messages=Marks(high=load.behind_high_messages, low=load.behind_low_messages),
            spool_bytes=Marks(high=load.behind_high_bytes, low=load.behind_low_bytes),
            step_ns=round(load.behind_step_s * SECOND_NS),
        ),
        disk=DiskLimits(
            floor_bytes=settings.disk.floor_bytes,
            pause_bytes=settings.disk.pause_bytes,
            refuse_bytes=settings.disk.refuse_bytes,
            warn_bytes=settings.disk.warn_bytes,
            back_bytes=settings.disk.back_bytes,
        ),
    )


def source_rules(settings: Settings) -> SourceRules:
    """Which sources may be recorded; never what the recorder keeps itself."""
    sources = settings.sources
    return SourceRules(
        kinds=sources.kinds,
        file_roots=sources.file_roots,
        displays=sources.displays,
        hosts=sources.hosts,
        devices=sources.devices,
        subjects=sources.subjects,
        max_pixels=sources.max_pixels,
        hidden=(
            *(str(settings.data_path.absolute() / name) for name in OWN_FOLDERS),
            str(settings.device_key_path.absolute()),
        ),
    )


def token_buckets(auth: AuthSettings) -> tuple[str, ...]:
    """The key-value buckets of authorisation that have to be there."""
    if auth.mode == "open":
        return ()
    return tuple(name for name in (auth.revocations_bucket, auth.jwks_bucket) if name)


def capture_policy(settings: Settings) -> CapturePolicy:
    """The limits of the capture stage."""
    capture = settings.capture
    return CapturePolicy(
        default_fps=capture.default_fps,
        max_fps=capture.max_fps,
        pre_record_max_bytes=capture.pre_record_max_bytes,
        segment=SegmentLimits(
            duration_ns=round(capture.segment_s * SECOND_NS),
            plain_size=capture.segment_max_bytes,
            level=capture.spool_level,
        ),
        keyframes=KeyframePolicy(
            min_interval_ns=round(capture.keyframe_min_s * SECOND_NS),
            max_interval_ns=round(capture.keyframe_max_s * SECOND_NS),
        ),
        retry_s=capture.retry_s,
        queue_segments=capture.queue_segments,
        start_wait_s=settings.disk.start_wait_s,
        longest_session_s=settings.nats.max_age_s * SHARE_OF_MAX_AGE,
        recording=RecordingPolicy(
            chunk_duration_ns=round(settings.chunk.duration_s * SECOND_NS),
            chunk_max_stored_size=settings.chunk.max_stored_bytes,
            chunk_max_plain_size=settings.chunk.max_plain_bytes,
            zstd_level=settings.compress.level,
            zstd_window_log=settings.compress.window_log,
            checkpoint_interval_ns=round(capture.checkpoint_s * SECOND_NS),
            epoch_length_ns=round(capture.epoch_s * SECOND_NS),
        ),
        watch=watch_policy(settings.quality),
        thumbnails=thumbnail_policy(settings.thumbnails),
    )


def watch_policy(quality: QualitySettings) -> WatchPolicy:
    """How pictures are watched."""
    return WatchPolicy(
        look_ns=round(quality.look_s * SECOND_NS),
        longest=SMALL_PICTURE_PIXELS,
        conditions=tuple(map(Condition, quality.conditions)),
        display_conditions=tuple(map(Condition, quality.display_conditions)),
        quality=QualityPolicy(
            black_begin=quality.black_begin,
            black_end=quality.black_end,
            black_ns=round(quality.black_s * SECOND_NS),
            frozen_ns=round(quality.frozen_s * SECOND_NS),
            flat_begin=quality.flat_begin,
            flat_end=quality.flat_end,
            flat_chroma=quality.flat_chroma,
            bars_begin=quality.bars_begin,
            bars_end=quality.bars_end,
            no_signal_ns=round(quality.no_signal_s * SECOND_NS),
            blur_begin=quality.blur_begin,
            blur_end=quality.blur_end,
            blur_contrast=quality.blur_contrast,
            blur_ns=round(quality.blur_s * SECOND_NS),
            clear_ns=round(quality.clear_s * SECOND_NS),
        ),
    )


def thumbnail_policy(thumbnails: ThumbnailSettings) -> ThumbnailPolicy | None:
    """How thumbnails are made; None: there shall be none."""
    if not thumbnails.enabled:
        return None
    return ThumbnailPolicy(
        interval_ns=round(thumbnails.interval_s * SECOND_NS),
        changed_share=thumbnails.changed_share,
        quality=thumbnails.jpeg_quality,
    )
