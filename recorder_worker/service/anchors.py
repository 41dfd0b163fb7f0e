"""Puts the keeper of receipts, and the time-stamp engine where one is set, on the bus."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from recorder_worker.bus.bus import Bus
from recorder_worker.bus.subscriptions import decoder_of
from recorder_worker.core.errors import FormatError, SettingsError
from recorder_worker.core.pipeline import RECEIPTS, TSA
from recorder_worker.core.receipts.authorities import TimestampAuthority, authority
from recorder_worker.core.receipts.chain import Anchor
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.tsa_anchor import TsaAnchor
from recorder_worker.integrations.tsa_client import Authority
from recorder_worker.ports import BlobStore
from recorder_worker.service.settings.tree import AnchorSettings
from recorder_worker.stages.receipts import ReceiptsStage

RECEIPT_WORKERS = 1
TSA_WORKERS = 1
"""The bus gives out one request at a time."""


def register_anchors(
    bus: Bus,
    settings: AnchorSettings,
    store: BlobStore,
    progressed: Callable[[str], Callable[[], None]],
) -> list[str]:
    """Register both; gives the names of those that run here.

    The authority's absence is no fault of this process: its stage is not watched for progress.

    Raises:
        SettingsError: `anchors.tsa_certificates` or `anchors.chain_keys` cannot be read.
    """
    trusted = trusted_authorities(settings)
    bus.register(
        RECEIPTS.name,
        ReceiptsStage(store, trusted, anchors=_chain_anchors(settings)).handle,
        decode=decoder_of(Fact.ANCHOR_RECEIPT),
        workers=RECEIPT_WORKERS,
        progressed=progressed(RECEIPTS.name),
    )
    if not settings.tsa_url:
        return [RECEIPTS.name]
    engine = TsaAnchor(
        bus.log,
        Authority(url=settings.tsa_url, timeout_s=settings.tsa_timeout_s, trusted=trusted),
    )
    bus.register(
        TSA.name,
        engine.handle,
        decode=decoder_of(Fact.ANCHOR_REQUESTED),
        workers=TSA_WORKERS,
        progressed=lambda: None,
    )
    return [RECEIPTS.name, TSA.name]


def _chain_anchors(settings: AnchorSettings) -> tuple[Anchor, ...]:
    for text in settings.chain_keys:
        if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
            raise SettingsError(
                f"anchors.chain_keys: expected public keys of 64 hexadecimal digits, found "
                f"{text!r}; the anchor worker prints its own"
            )
    return tuple(
        Anchor(name=f"key {text.lower()}", public_key=bytes.fromhex(text))
        for text in settings.chain_keys
    )


def trusted_authorities(settings: AnchorSettings) -> tuple[TimestampAuthority, ...]:
    """Whose time-stamps are taken; none: anybody's. Raises SettingsError."""
    if not settings.tsa_certificates:
        return ()
    path = Path(settings.tsa_certificates)
    try:
        return (authority(path.name, path.read_bytes()),)
    except (OSError, FormatError) as error:
        raise SettingsError(
            f"anchors.tsa_certificates: expected the path of certificates in PEM, found "
            f"{settings.tsa_certificates!r}: {error}; correct it, or leave it empty"
        ) from error
