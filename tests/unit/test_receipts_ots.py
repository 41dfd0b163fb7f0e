from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from opentimestamps.core.notary import (
    BitcoinBlockHeaderAttestation,
    PendingAttestation,
    TimeAttestation,
    UnknownAttestation,
)
from opentimestamps.core.op import Op, OpSHA1, OpSHA256
from ots_receipts import MESSAGE, receipt

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts import ots
from recorder_worker.core.receipts.block_header import BlockHeader
from recorder_worker.core.receipts.ots import AttestationKind, verify_ots

CALENDAR = "https://calendar.example"


def test_a_known_block_proves_its_time() -> None:
    proof, root = receipt(BitcoinBlockHeaderAttestation(900_000))
    header = BlockHeader(height=900_000, merkle_root=root, time=1_750_000_000)
    best = verify_ots(proof, MESSAGE, [header]).best
    assert best is not None
    assert best.kind is AttestationKind.BITCOIN
    assert best.time_ns == 1_750_000_000 * 10**9
    assert best.latest_ns == (1_750_000_000 + 7200) * 10**9


def test_the_earliest_proved_block_counts() -> None:
    proof, root = receipt(*(BitcoinBlockHeaderAttestation(height) for height in (8, 7, 9)))
    headers = [BlockHeader(height=h, merkle_root=root, time=h * 100) for h in (9, 7, 8)]
    best = verify_ots(proof, MESSAGE, headers).best
    assert best is not None
    assert best.detail == "block 7"


@pytest.mark.parametrize(
    ("attestation", "kind", "why"),
    [
        (PendingAttestation(CALENDAR), AttestationKind.PENDING, "only promised"),
        (UnknownAttestation(b"12345678", b"?"), AttestationKind.UNKNOWN, "not known"),
        (BitcoinBlockHeaderAttestation(7), AttestationKind.BITCOIN, "no header"),
        (BitcoinBlockHeaderAttestation(8), AttestationKind.BITCOIN, "another Merkle root"),
    ],
    ids=["pending", "unknown", "no header", "another root"],
)
def test_what_is_not_shown_is_not_proved(
    attestation: TimeAttestation, kind: AttestationKind, why: str
) -> None:
    proof, _ = receipt(attestation)
    headers = [BlockHeader(height=8, merkle_root="00" * 32, time=1)]
    found = verify_ots(proof, MESSAGE, headers)
    assert found.best is None
    assert [a.kind for a in found.attestations] == [kind]
    assert why in found.attestations[0].why_not


def test_a_weak_digest_on_the_way_proves_nothing() -> None:
    weak: tuple[Op, ...] = (OpSHA1(), OpSHA256())
    proof, root = receipt(BitcoinBlockHeaderAttestation(7), ops=weak)
    found = verify_ots(proof, MESSAGE, [BlockHeader(height=7, merkle_root=root, time=1)])
    assert found.best is None
    assert "no longer safe" in found.attestations[0].why_not


def test_a_proof_of_another_file_is_refused() -> None:
    proof, _ = receipt(BitcoinBlockHeaderAttestation(7), message=b"other")
    with pytest.raises(ProofError, match=hashlib.sha256(b"other").hexdigest()):
        verify_ots(proof, MESSAGE)


def test_no_flipped_bit_keeps_the_time() -> None:
    proof, root = receipt(BitcoinBlockHeaderAttestation(7))
    headers = [BlockHeader(height=7, merkle_root=root, time=1)]
    assert verify_ots(proof, MESSAGE, headers).best is not None
    for place in range(len(proof)):
        changed = bytearray(proof)
        changed[place] ^= 1
        try:
            found = verify_ots(bytes(changed), MESSAGE, headers)
        except (FormatError, ProofError):
            continue
        assert found.best is None, f"byte {place}"


def test_another_digest_of_the_file_is_not_taken() -> None:
    proof, _ = receipt(PendingAttestation(CALENDAR), file_op=OpSHA1())
    with pytest.raises(UnsupportedError, match=r"expected a proof over SHA-256"):
        verify_ots(proof, MESSAGE)


@pytest.mark.parametrize("spoiled", [b"", b"\0OpenTimestamps", bytes(ots.MAX_OTS_SIZE + 1)])
def test_what_is_no_proof_is_refused(spoiled: bytes) -> None:
    with pytest.raises(FormatError, match=r"OpenTimestamps: expected"):
        verify_ots(spoiled, MESSAGE)


def test_trailing_bytes_are_refused() -> None:
    proof, _ = receipt(PendingAttestation(CALENDAR))
    with pytest.raises(FormatError, match=r"expected a detached proof"):
        verify_ots(proof + b"\0", MESSAGE)


def test_operations_without_end_are_refused() -> None:
    head = receipt(PendingAttestation(CALENDAR), ops=())[0][:65]
    with pytest.raises(FormatError, match=r"expected a detached proof"):
        verify_ots(head + b"\x08" * 100_000, MESSAGE)


def test_a_later_major_version_is_unsupported() -> None:
    proof, _ = receipt(PendingAttestation(CALENDAR))
    changed = bytearray(proof)
    changed[31] = 2
    with pytest.raises(UnsupportedError, match=r"Version 2"):
        verify_ots(bytes(changed), MESSAGE)


def test_without_the_extra_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    proof, _ = receipt(PendingAttestation(CALENDAR))
    monkeypatch.setattr(ots, "INSTALLED", False)
    with pytest.raises(UnsupportedError, match=r"receipt not checked.*install"):
        verify_ots(proof, MESSAGE)


def test_the_extra_may_be_absent() -> None:
    script = (
        "import sys; sys.modules['opentimestamps'] = None\n"
        "from recorder_worker.core.receipts import ots\n"
        "from recorder_worker.core.verify import time_window\n"
        "assert not ots.INSTALLED\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
