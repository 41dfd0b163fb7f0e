"""The settings of the second store, to which recordings are copied; as `tree`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recorder_worker.service.settings.group import Group

Secret = Annotated[str, Meta(max_length=4096, extra={"secret": True})]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]

NATS = "nats"


class StorageSettings(Group, frozen=True, kw_only=True):
    """Where recordings are copied to, and how long they stay here as well."""

    kind: Literal["none", "directory", "s3", "nats"] = "none"
    prefix: Annotated[
        str, Meta(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,99}/){0,8}$", max_length=512)
    ] = ""
    directory: Annotated[str, Meta(max_length=4096)] = ""
    bucket: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]*$", max_length=63)] = ""
    endpoint: Annotated[
        str, Meta(pattern=r"^(https?://[^\s/@]+(/[^\s@]*)?)?$", max_length=2048)
    ] = ""
    region: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$", max_length=64)] = "us-east-1"
    access_key_id: Secret = ""
    secret_access_key: Secret = ""
    session_token: Secret = ""
    credentials_file: Annotated[str, Meta(max_length=4096)] = ""
    ca_file: Annotated[str, Meta(max_length=4096)] = ""
    part_bytes: Annotated[int, Meta(ge=5_242_880, le=1_073_741_824)] = 16_777_216
    nats_max_bytes: Annotated[int, Meta(ge=1, le=2**63 - 1)] = 1_099_511_627_776
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 20.0
    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    read_back: bool = False
    keep_local: Literal["always", "after_seal"] = "always"
    keep_local_s: Annotated[float, Meta(ge=0, le=3_153_600_000)] = 86_400.0
    sweep_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    backoff_s: Annotated[tuple[Seconds, ...], Meta(min_length=1, max_length=32)] = (
        1.0,
        2.0,
        5.0,
        10.0,
        30.0,
    )

    @property
    def object_bucket(self) -> str:
        """The bucket in NATS Object Store; empty where copies go elsewhere."""
        return self.bucket if self.kind == NATS else ""
