"""Step 15: receipts over checkpoints of the log of sessions, and the time-stamp in OPEN.

A receipt that is there and wrong is an attack; one that is absent, pending, of a kind that is not
known, or from an authority that the policy does not name proves nothing, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts.authorities import TimestampAuthority
from recorder_worker.core.receipts.block_header import BlockHeader
from recorder_worker.core.receipts.chain import Anchor, fingerprint, verify_chain_receipt
from recorder_worker.core.receipts.timestamp import TimestampFound, verify_timestamp

_NAME = re.compile(r"receipts/([0-9]{20})\.(tsr|ots|[0-9a-f]{16}\.chain)")


SECOND_NS = 1_000_000_000


class Covers(StrEnum):
    """Up to which record of the session a log checkpoint reaches."""

    OPEN = "OPEN"
    SEAL = "SEAL"


class LogCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint of the log of sessions that holds an entry of this session (step 14).

    `note` are its exact bytes, as they stand in the log proof.
    """

    covers: Covers
    tree_size: int
    note: bytes


class ReceiptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the folder `receipts`: its name in the recording, and its bytes."""

    name: str
    data: bytes


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt over the right bytes.

    Attributes:
        name: of its file; `OPEN` for the time-stamp inside OPEN.
        covers: what existed by then; None: nothing of this session, it is older than OPEN.
        given_by: the authority's name in its certificate, the Bitcoin block, or the anchor's name.
        trusted_by: the name in the policy of who vouches for it; None: nobody.
        time_ns: the time that it says, nanoseconds since the Unix epoch.
        earliest_ns: before this it was not made.
        latest_ns: after this it was not made.
        why_not: why its time is not proved; empty where it is.
    """

    name: str
    covers: Covers | None
    given_by: str
    trusted_by: str | None
    time_ns: int
    earliest_ns: int
    latest_ns: int
    why_not: str = ""


class ReceiptsChecked(msgspec.Struct, frozen=True, kw_only=True):
    """What step 15 found.

    Attributes:
        beacon: the time-stamp in OPEN; None: there is none, or it was not checked.
        receipts: those over this session's log checkpoints, in the order of their names.
        failures: receipts that are wrong: the recording is TAMPERED.
        not_proved: sentences on what is not proved, and why.
        warnings: what somebody should look at.
    """

    beacon: Receipt | None
    receipts: tuple[Receipt, ...]
    failures: tuple[str, ...]
    not_proved: tuple[str, ...]
    warnings: tuple[str, ...]


def check_receipts(
    *,
    timestamped: bytes,
    timestamp: bytes,
    checkpoints: Sequence[LogCheckpoint],
    files: Sequence[ReceiptFile],
    authorities: Sequence[TimestampAuthority] = (),
    block_headers: Sequence[BlockHeader] = (),
    anchors: Sequence[Anchor] = (),
) -> ReceiptsChecked:
    """Check the time-stamp in OPEN and all receipts of a recording.

    Args:
        timestamped: OPEN's field, an earlier checkpoint of the log; may be empty.
        timestamp: OPEN's field, the time-stamp over it; may be empty.
        checkpoints: log checkpoints whose proof held. A receipt needs one of its size.
        files: the files of `receipts`.
        authorities: time-stamp authorities that the policy trusts.
        block_headers: Bitcoin blocks that the policy knows.
        anchors: anchors with chains of their own that the policy trusts.
    """
    found = _Findings()
    beacon = found.beacon(timestamped, timestamp, authorities)
    receipts = [
        receipt
        for file in sorted(files, key=lambda file: file.name)
        for receipt in found.file(file, checkpoints, authorities, block_headers, anchors)
    ]
    if not files:
        found.not_proved.append("no receipt: when the recording ended is not proved")
    return ReceiptsChecked(
        beacon=beacon,
        receipts=tuple(receipts),
        failures=tuple(found.failures),
        not_proved=tuple(found.not_proved),
        warnings=tuple(found.warnings),
    )


class _Findings:
    """Collects what is said beside the receipts themselves."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.not_proved: list[str] = []
        self.warnings: list[str] = []

    def beacon(
        self, timestamped: bytes, timestamp: bytes, authorities: Sequence[TimestampAuthority]
    ) -> Receipt | None:
        """The time-stamp in OPEN."""
        if bool(timestamped) != bool(timestamp):
            self.failures.append(
                "OPEN: expected timestamped and timestamp both, or neither; found "
                f"{len(timestamped)} and {len(timestamp)} bytes"
            )
            return None
        if not timestamp:
            self.not_proved.append("no time-stamp in OPEN: when the recording began is not proved")
            return None
        try:
            return _stamped("OPEN", None, verify_timestamp(timestamp, timestamped, authorities))
        except UnsupportedError as error:
            self.not_proved.append(f"OPEN: the time-stamp in it was not checked: {error}")
        except (FormatError, ProofError) as error:
            self.failures.append(f"OPEN: {error}")
        return None

    def file(
        self,
        file: ReceiptFile,
        checkpoints: Sequence[LogCheckpoint],
        authorities: Sequence[TimestampAuthority],
        block_headers: Sequence[BlockHeader],
        anchors: Sequence[Anchor],
    ) -> Iterator[Receipt]:
        """The receipt in one file; none where nothing can be said of it."""
        name = _NAME.fullmatch(file.name)
        if name is None:
            self.warnings.append(
                f"{file.name}: expected a name of receipts/<log size, 20 digits>.tsr, .ots or "
                ".<key, 16 digits>.chain; it is not looked at"
            )
            return
        mine = [c for c in checkpoints if c.tree_size == int(name[1])]
        if not mine:
            self.not_proved.append(
                f"{file.name}: no log proof here leads to the log's checkpoint of size "
                f"{int(name[1])}, so the receipt says nothing about this recording"
            )
            return
        # Where one checkpoint holds both entries, it reaches to the later one.
        checkpoint = max(mine, key=lambda c: c.covers is Covers.SEAL)
        try:
            if name[2] == "tsr":
                yield _stamped(
                    file.name,
                    checkpoint.covers,
                    verify_timestamp(file.data, checkpoint.note, authorities),
                )
            elif name[2] == "ots":
                yield from self._attested(file, checkpoint, block_headers)
            else:
                yield _chained(file, checkpoint, anchors)
        except UnsupportedError as error:
            self.not_proved.append(f"{file.name}: receipt not checked: {error}")
        except (FormatError, ProofError) as error:
            self.failures.append(f"{file.name}: {error}")

    def _attested(
        self, file: ReceiptFile, checkpoint: LogCheckpoint, headers: Sequence[BlockHeader]
    ) -> Iterator[Receipt]:
        # Only here: its library is slow to load, and few recordings have such proofs.
        from recorder_worker.core.receipts.ots import verify_ots  # noqa: PLC0415  (as above)

        found = verify_ots(file.data, checkpoint.note, headers)
        best = found.best
        if best is None or best.time_ns is None or best.latest_ns is None:
            why = "; ".join(f"{a.kind} {a.detail}: {a.why_not}" for a in found.attestations[:4])
            self.not_proved.append(f"{file.name}: no time is proved: {why or 'no attestation'}")
            return
        yield Receipt(
            name=file.name,
            covers=checkpoint.covers,
            given_by=f"Bitcoin {best.detail}",
            trusted_by="block header in the policy",
            time_ns=best.time_ns,
            # The header's miner may have had its clock wrong by as much the other way.
            earliest_ns=2 * best.time_ns - best.latest_ns,
            latest_ns=best.latest_ns,
        )


def _chained(file: ReceiptFile, checkpoint: LogCheckpoint, anchors: Sequence[Anchor]) -> Receipt:
    found = verify_chain_receipt(file.data, checkpoint.note, anchors)
    entry = found.entry
    name = keys.chain_receipt(entry.tree_size, fingerprint(entry.public_key))
    if name != file.name:
        raise ProofError(f"expected a receipt of the key in its name, found that of {name}")
    return Receipt(
        name=file.name,
        covers=checkpoint.covers,
        given_by=f"{entry.name}, entry {entry.number}",
        trusted_by=found.trusted_by,
        time_ns=entry.time_s * SECOND_NS,
        earliest_ns=entry.time_s * SECOND_NS,
        # Its clock tells whole seconds.
        latest_ns=(entry.time_s + 1) * SECOND_NS,
        why_not=""
        if found.trusted_by
        else f"the policy has no anchor with the key {entry.public_key.hex()}",
    )


def _stamped(name: str, covers: Covers | None, found: TimestampFound) -> Receipt:
    return Receipt(
        name=name,
        covers=covers,
        given_by=found.authority,
        trusted_by=found.trusted_by,
        time_ns=found.time_ns,
        earliest_ns=found.earliest_ns,
        latest_ns=found.latest_ns,
        why_not=found.why_untrusted if found.trusted_by is None else "",
    )
