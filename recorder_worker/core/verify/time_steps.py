"""Steps 15 and 16 as the verification runs them: receipts are read, and the window is proved."""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, RecorderError
from recorder_worker.core.receipts.chain import Anchor, fingerprint
from recorder_worker.core.records.leaves import OpenRecord, SealRecord
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.listing import Listing
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.reader import RecordingReader, read_bounded
from recorder_worker.core.verify.receipts import (
    LogCheckpoint,
    ReceiptFile,
    ReceiptsChecked,
    check_receipts,
)
from recorder_worker.core.verify.time_window import TimeWindow, WallClocks, prove_window

MAX_RECEIPT_SIZE = 1 << 20


def check_time(
    reader: RecordingReader,
    listing: Listing,
    opened: OpenRecord,
    seal: SealRecord | None,
    checkpoints: list[LogCheckpoint],
    policy: TrustPolicy | None,
    steps: tuple[Findings, Findings],
    max_window_ns: int | None,
) -> tuple[ReceiptsChecked, TimeWindow]:
    """Check all receipts, and prove the window as far as they go."""
    receipts, windows = steps
    anchors = policy.anchors if policy else ()
    files = _files(reader, listing, checkpoints, anchors, receipts)
    checked = check_receipts(
        timestamped=opened.timestamped,
        timestamp=opened.timestamp,
        checkpoints=checkpoints,
        files=files,
        authorities=policy.authorities if policy else (),
        block_headers=policy.block_headers if policy else (),
        anchors=anchors,
    )
    window = prove_window(
        checked,
        WallClocks(open_ns=opened.wall_ns, seal_ns=seal.wall_ns if seal else None),
        max_window_ns=max_window_ns,
        require_receipt=bool(policy and policy.rules.require_receipt),
    )
    for text in checked.failures:
        receipts.tampered(text)
    for text in checked.warnings:
        receipts.warn(text)
    for text in window.failures:
        windows.tampered(text)
    for text in window.warnings:
        windows.warn(text)
    if checked.beacon is None and not checked.receipts:
        receipts.leave_out("there is no receipt over a log checkpoint of this session")
    if not window.lines:
        windows.leave_out("no time is proved by anybody else")
    return checked, window


def _files(
    reader: RecordingReader,
    listing: Listing,
    checkpoints: list[LogCheckpoint],
    anchors: Sequence[Anchor],
    findings: Findings,
) -> list[ReceiptFile]:
    """Those that say something are read however many others lie there."""
    suffixes = ("tsr", "ots", *(f"{fingerprint(one.public_key)}.chain" for one in anchors))
    mine = {keys.receipt(c.tree_size, suffix) for c in checkpoints for suffix in suffixes}
    files = []
    for name in sorted({*listing.receipts, *mine}):
        try:
            files.append(ReceiptFile(name=name, data=read_bounded(reader, name, MAX_RECEIPT_SIZE)))
        except BlobMissingError:
            continue
        except RecorderError as error:
            findings.caught(name, error)
    if listing.more_receipts:
        findings.warn(f"{listing.more_receipts} more receipts of other sizes were not looked at")
    return files
