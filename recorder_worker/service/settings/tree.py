"""Every setting with its default and its limits: the one place that knows both.

What each key means stands beside it in `config/settings.yaml`; a test holds the two together.
Units stand last in a name: `_s` seconds, `_bytes` bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from msgspec import Meta

from recorder_worker.core.access.rules import Action
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.group import Group
from recorder_worker.service.settings.keeping import PatrolSettings, RetentionSettings
from recorder_worker.service.settings.load import LoadSettings
from recorder_worker.service.settings.pictures import QualitySettings, ThumbnailSettings
from recorder_worker.service.settings.storage import StorageSettings

Stage = Literal["capture", "chunk", "compress", "merkle"]
Kind = Literal["file", "x11", "pattern", "rtsp", "images", "v4l2", "nats"]
PositiveSeconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Bytes = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Workers = Annotated[int, Meta(ge=1, le=256)]
Text = Annotated[str, Meta(max_length=4096)]
Secret = Annotated[str, Meta(max_length=4096, extra={"secret": True})]
Bucket = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]*$", max_length=200)]
Device = Annotated[str, Meta(pattern=r"^/dev/[^\s]+$", max_length=256)]
Subject = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_*.-]*[A-Za-z0-9_*>-]$", max_length=255)]
Actions = Annotated[tuple[Action, ...], Meta(max_length=32)]


class NatsSettings(Group, frozen=True, kw_only=True):
    """How to reach NATS, or how to run it embedded, and how much it keeps."""

    url: Text = ""
    port: Annotated[int, Meta(ge=-1, le=65535)] = 4222
    credentials: Text = ""
    user: Text = ""
    password: Secret = ""
    token: Secret = ""
    tls_ca: Text = ""
    tls_cert: Text = ""
    tls_key: Text = ""
    api_prefix: Annotated[str, Meta(pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*$", max_length=255)] = (
        "$JS.API"
    )
    manage: bool = True
    owner: Annotated[str, Meta(pattern=r"^([a-z][a-z0-9-]*)?$", max_length=32)] = ""
    connect_timeout_s: PositiveSeconds = 5.0
    max_payload_bytes: Annotated[int, Meta(ge=65_536, le=67_108_864)] = 1_048_576
    memory_bytes: Annotated[int, Meta(ge=33_554_432, le=2**40)] = 268_435_456
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    max_age_s: Annotated[int, Meta(ge=3600, le=3_153_600_000)] = 2_592_000
    max_bytes: Bytes = 10_737_418_240
    duplicate_window_s: Annotated[int, Meta(ge=1, le=86_400)] = 120


class CaptureSettings(Group, frozen=True, kw_only=True):
    """How sources are read and segments are written."""

    capacity: Annotated[int, Meta(ge=1, le=1024)] = 8
    lease_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    segment_s: Annotated[float, Meta(gt=0, le=60)] = 1.0
    segment_max_bytes: Annotated[int, Meta(ge=1_048_576, le=2**31 - 1)] = 33_554_432
    default_fps: Annotated[float, Meta(gt=0, le=240)] = 10.0
    spool_level: Annotated[int, Meta(ge=1, le=19)] = 1
    keyframe_max_s: Annotated[float, Meta(gt=0, le=3600)] = 300.0
    keyframe_min_s: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    max_fps: Annotated[float, Meta(gt=0, le=240)] = 60.0
    pre_record_max_bytes: Annotated[int, Meta(ge=1_048_576, le=2**40)] = 67_108_864
    retry_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    queue_segments: Annotated[int, Meta(ge=1, le=86_400)] = 600
    checkpoint_s: Annotated[float, Meta(ge=1, le=60)] = 5.0
    epoch_s: Annotated[float, Meta(ge=1, le=86_400)] = 300.0


class SourceSettings(Group, frozen=True, kw_only=True):
    """What may be recorded."""

    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=16)] = get_args(Kind)
    file_roots: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^/", max_length=4096)], ...], Meta(max_length=64)
    ] = ("/",)
    displays: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^:[0-9*?\[\]!-]+$", max_length=64)], ...],
        Meta(max_length=64),
    ] = (":*",)
    hosts: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:/-]+$", max_length=255)], ...],
        Meta(max_length=256),
    ] = ("localhost",)
    devices: Annotated[tuple[Device, ...], Meta(max_length=256)] = ("/dev/video*", "/dev/v4l/*")
    subjects: Annotated[tuple[Subject, ...], Meta(max_length=256)] = ("source.>",)
    max_pixels: Annotated[int, Meta(ge=1, le=2**27)] = 33_177_600
    credentials_dir: Annotated[str, Meta(max_length=4096)] = ""


class ChunkSettings(Group, frozen=True, kw_only=True):
    """Where chunks end."""

    duration_s: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    max_stored_bytes: Annotated[int, Meta(ge=65_536, le=2**31 - 1)] = 16_777_216
    max_plain_bytes: Annotated[int, Meta(ge=1_048_576, le=2**40)] = 268_435_456
    workers: Workers = 2
    ack_wait_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0


class CompressSettings(Group, frozen=True, kw_only=True):
    """How chunks are compressed."""

    level: Annotated[int, Meta(ge=1, le=22)] = 3
    window_log: Annotated[int, Meta(ge=10, le=23)] = 23
    workers: Workers = 2
    ack_wait_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0


class MerkleSettings(Group, frozen=True, kw_only=True):
    """Who signs, and how the tree stage works."""

    workers: Workers = 2
    ack_wait_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    recorder: Text = ""


class AnchorSettings(Group, frozen=True, kw_only=True):
    """Who time-stamps the log of sessions."""

    tsa_url: Annotated[str, Meta(pattern=r"^(https?://[^\s/@]+(/[^\s]*)?)?$", max_length=2048)] = ""
    tsa_timeout_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    tsa_certificates: Text = ""
    chain_keys: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()


class AuditSettings(Group, frozen=True, kw_only=True):
    """How long is kept who did what, how much of it, and how soon it is entered in the log."""

    max_age_s: Annotated[int, Meta(ge=3600, le=3_153_600_000)] = 7_776_000
    max_bytes: Bytes = 2_147_483_648
    digest_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0


class AuthSettings(Group, frozen=True, kw_only=True):
    """Who may command the recorder, and how he shows it."""

    mode: Literal["open", "jwt"] = "open"
    allow_open_network: bool = False
    hs256_secret: Secret = ""
    jwks_file: Text = ""
    jwks_bucket: Bucket = ""
    issuer: Text = ""
    audience: Text = ""
    role_claim: Annotated[str, Meta(min_length=1, max_length=256)] = "role"
    skew_s: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    revocations_bucket: Bucket = "recorder-revocations"
    user_may: Actions = ("start", "stop", "pause", "resume", "mark", "mask", "view")
    node_operator_may: Actions = ("stop", "pause", "resume", "mark", "mask", "view")
    admin_may: Actions = (
        *("start", "stop", "pause", "resume", "mark", "mask"),
        *("hold", "release", "view", "export", "retry", "drop"),
    )
    super_admin_may: Actions = (
        *("start", "stop", "pause", "resume", "mark", "mask"),
        *("hold", "release", "delete", "view", "export", "retry", "drop"),
    )
    own_only: Annotated[
        tuple[Literal["USER", "NODE_OPERATOR", "ADMIN", "SUPER_ADMIN"], ...], Meta(max_length=4)
    ] = ("USER",)
    bearer: Secret = ""


class NodeSettings(Group, frozen=True, kw_only=True):
    """What a worker tells of itself."""

    heartbeat_s: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0


class RetrySettings(Group, frozen=True, kw_only=True):
    """When a message that could not be handled comes again, and when it is a dead letter."""

    backoff_s: Annotated[tuple[PositiveSeconds, ...], Meta(min_length=1, max_length=32)] = (
        0.2,
        1.0,
        5.0,
        30.0,
    )
    max_deliver: Annotated[int, Meta(ge=2, le=1000)] = 8
    max_crashes: Annotated[int, Meta(ge=3, le=1000)] = 5


class SidecarSettings(Group, frozen=True, kw_only=True):
    """Where health and metrics are shown."""

    host: Annotated[str, Meta(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=-1, le=65535)] = 8090
    status: bool = True


class TracingSettings(Group, frozen=True, kw_only=True):
    """Where traces go."""

    otlp_endpoint: Annotated[
        str, Meta(pattern=r"^(https?://[^\s/@]+(/[^\s]*)?)?$", max_length=2048)
    ] = ""
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 1.0
    service_name: Annotated[str, Meta(min_length=1, max_length=255)] = "session-recorder"
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0


class KeySettings(Group, frozen=True, kw_only=True):
    """Where the device's keys are, and of which kinds."""

    device_key: Text = ""
    device_key_pem: Secret = ""
    ml_dsa_44: bool = False


class EncryptionSettings(Group, frozen=True, kw_only=True):
    """Who may read new recordings; nobody named: whoever can read the store."""

    recipients: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    recipients_file: Text = ""


class LogSettings(Group, frozen=True, kw_only=True):
    """What is logged and how it looks."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(Group, frozen=True, kw_only=True):
    """All settings of one recorder process."""

    data_dir: Annotated[str, Meta(min_length=1, max_length=4096)] = "recorder-data"
    node: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]*$", max_length=253)] = ""
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1, max_length=4)] = (
        "capture",
        "chunk",
        "compress",
        "merkle",
    )
    nats: NatsSettings = NatsSettings()
    capture: CaptureSettings = CaptureSettings()
    load: LoadSettings = LoadSettings()
    sources: SourceSettings = SourceSettings()
    quality: QualitySettings = QualitySettings()
    thumbnails: ThumbnailSettings = ThumbnailSettings()
    chunk: ChunkSettings = ChunkSettings()
    compress: CompressSettings = CompressSettings()
    merkle: MerkleSettings = MerkleSettings()
    anchors: AnchorSettings = AnchorSettings()
    storage: StorageSettings = StorageSettings()
    audit: AuditSettings = AuditSettings()
    retention: RetentionSettings = RetentionSettings()
    patrol: PatrolSettings = PatrolSettings()
    auth: AuthSettings = AuthSettings()
    nodes: NodeSettings = NodeSettings()
    retry: RetrySettings = RetrySettings()
    sidecar: SidecarSettings = SidecarSettings()
    tracing: TracingSettings = TracingSettings()
    disk: DiskSettings = DiskSettings()
    keys: KeySettings = KeySettings()
    encryption: EncryptionSettings = EncryptionSettings()
    log: LogSettings = LogSettings()

    @property
    def data_path(self) -> Path:
        """The data directory."""
        return Path(self.data_dir)

    @property
    def keys_path(self) -> Path:
        """The folder of keys."""
        return self.data_path / "keys"

    @property
    def device_key_path(self) -> Path:
        """The file of the device key."""
        if self.keys.device_key:
            return Path(self.keys.device_key)
        return self.keys_path / "device.pem"

    @property
    def embedded_nats(self) -> bool:
        """Whether this process runs its own nats-server."""
        return self.nats.url == ""
