from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation, PendingAttestation
from ots_receipts import receipt as ots_receipt
from time_stamp_authority import Tsa

from recorder_worker.core.receipts import ots
from recorder_worker.core.receipts.authorities import TimestampAuthority
from recorder_worker.core.receipts.block_header import BlockHeader
from recorder_worker.core.verify.receipts import (
    Covers,
    LogCheckpoint,
    Receipt,
    ReceiptFile,
    ReceiptsChecked,
    check_receipts,
)
from recorder_worker.core.verify.time_window import TOLERANCE_NS, WallClocks, iso, prove_window

SECOND_NS = 10**9


def note(size: int) -> bytes:
    root = base64.b64encode(size.to_bytes(32, "big")).decode()
    return f"lab7/log\n{size}\n{root}\n\n— lab7/log AAAAAAA=\n".encode()


def name(size: int, suffix: str = "tsr") -> str:
    return f"receipts/{size:020d}.{suffix}"


OPEN = LogCheckpoint(covers=Covers.OPEN, tree_size=8, note=note(8))
SEAL = LogCheckpoint(covers=Covers.SEAL, tree_size=9, note=note(9))


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def beacon(tsa: Tsa) -> bytes:
    return tsa.stamp(note(7))


@pytest.fixture(scope="module")
def sealed(tsa: Tsa, beacon: bytes) -> bytes:
    assert beacon
    return tsa.stamp(note(9))


def checked(
    *files: ReceiptFile,
    beacon: bytes = b"",
    over: bytes | None = None,
    authorities: tuple[TimestampAuthority, ...] = (),
    headers: tuple[BlockHeader, ...] = (),
) -> ReceiptsChecked:
    timestamped = over if over is not None else note(7) if beacon else b""
    return check_receipts(
        timestamped=timestamped,
        timestamp=beacon,
        checkpoints=[OPEN, SEAL],
        files=files,
        authorities=authorities,
        block_headers=headers,
    )


def test_a_window_is_proved_by_beacon_and_receipt(tsa: Tsa, beacon: bytes, sealed: bytes) -> None:
    found = checked(
        ReceiptFile(name=name(9), data=sealed), beacon=beacon, authorities=(tsa.trusted(),)
    )
    assert (found.failures, found.not_proved, found.warnings) == ((), (), ())
    assert found.beacon is not None
    now_ns = found.receipts[0].time_ns
    window = prove_window(found, WallClocks(open_ns=now_ns, seal_ns=now_ns))
    assert window.not_before is not None
    assert window.not_after is not None
    assert window.not_before.t_ns == found.beacon.earliest_ns
    assert window.not_after.t_ns == found.receipts[0].latest_ns
    assert window.length_ns == window.not_after.t_ns - window.not_before.t_ns
    assert window.lines[0].startswith(
        f"not before {iso(window.not_before.t_ns)}: time-stamp of lab"
    )
    assert window.lines[1].startswith(f"not after {iso(window.not_after.t_ns)}: {name(9)}")
    assert (window.failures, window.warnings, window.not_proved) == ((), (), ())


def test_without_any_receipt_nothing_is_proved_and_that_is_said() -> None:
    found = checked()
    assert found.failures == ()
    assert found.not_proved == (
        "no time-stamp in OPEN: when the recording began is not proved",
        "no receipt: when the recording ended is not proved",
    )
    window = prove_window(found, WallClocks(open_ns=0, seal_ns=None))
    assert (window.not_before, window.not_after, window.length_ns) == (None, None, None)
    assert window.lines == ()


def test_without_trust_times_are_told_and_not_proved(beacon: bytes, sealed: bytes) -> None:
    found = checked(ReceiptFile(name=name(9), data=sealed), beacon=beacon)
    assert found.failures == ()
    window = prove_window(found, WallClocks(open_ns=0, seal_ns=0))
    assert window.not_before is None
    assert window.not_after is None
    assert window.warnings == ()
    assert [line.split(":")[0] for line in window.not_proved] == ["OPEN", name(9)]
    assert "CN=lab TSA says 20" in window.not_proved[0]
    assert "names no time-stamp authority" in window.not_proved[1]


def test_a_receipt_over_the_beginning_proves_the_beginning(tsa: Tsa) -> None:
    found = checked(
        ReceiptFile(name=name(8), data=tsa.stamp(note(8))), authorities=(tsa.trusted(),)
    )
    window = prove_window(found, WallClocks(open_ns=0, seal_ns=2**62))
    assert window.not_after is None
    assert window.opened_by is not None
    assert window.lines[0].startswith("begun by")
    assert "no receipt reaches the SEAL: when the recording ended is not proved" in (
        window.not_proved
    )
    assert window.warnings == ()


def test_the_earliest_of_several_receipts_counts() -> None:
    receipts = tuple(
        _receipt(name(9, suffix), Covers.SEAL, t_ns)
        for suffix, t_ns in (("tsr", 50 * SECOND_NS), ("ots", 40 * SECOND_NS))
    )
    window = prove_window(_of(None, *receipts), WallClocks(open_ns=0, seal_ns=0))
    assert window.not_after is not None
    assert window.not_after.receipt == name(9, "ots")


# --- what is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda tsa: tsa.stamp(note(8)),
        lambda tsa: tsa.stamp(note(9))[:-1],
        lambda tsa: tsa.stamp(note(9)) + b"\n",
        lambda _tsa: b"",
    ],
    ids=["another file", "cut", "longer", "empty"],
)
def test_a_wrong_receipt_is_a_failure(tsa: Tsa, spoiled: Callable[[Tsa], bytes]) -> None:
    found = checked(ReceiptFile(name=name(9), data=spoiled(tsa)), authorities=(tsa.trusted(),))
    assert len(found.failures) == 1
    assert found.failures[0].startswith(f"{name(9)}: ")
    assert found.receipts == ()


def test_a_wrong_time_stamp_in_open_is_a_failure(tsa: Tsa, beacon: bytes) -> None:
    for wrong in (
        checked(beacon=beacon, over=note(6)),
        checked(beacon=beacon, over=b""),
        checked(over=note(7)),
        checked(beacon=b"hello", authorities=(tsa.trusted(),)),
    ):
        assert len(wrong.failures) == 1
        assert wrong.failures[0].startswith("OPEN: ")
        assert wrong.beacon is None


def test_a_receipt_of_another_size_says_nothing(tsa: Tsa) -> None:
    found = checked(ReceiptFile(name=name(12), data=tsa.stamp(note(12))))
    assert found.failures == ()
    assert found.receipts == ()
    assert any("no log proof here leads to" in line for line in found.not_proved)


@pytest.mark.parametrize("odd", ["receipts/9.tsr", "receipts/x", name(9, "pdf"), name(9) + "\n"])
def test_a_file_of_another_name_is_told(odd: str) -> None:
    found = checked(ReceiptFile(name=odd, data=b"?"))
    assert found.failures == ()
    assert len(found.warnings) == 1


def test_a_receipt_older_than_what_open_holds_is_a_contradiction(tmp_path: Path) -> None:
    """Where both are of somebody who is trusted: the two cannot both be."""
    tsa = Tsa(tmp_path, accuracy="")
    stamped = checked(
        ReceiptFile(name=name(9), data=tsa.stamp(note(9))),
        beacon=tsa.stamp(note(7)),
        authorities=(tsa.trusted(),),
    )
    assert prove_window(stamped, WallClocks(open_ns=0, seal_ns=2**62)).failures == ()
    later = _receipt("OPEN", None, stamped.receipts[0].latest_ns + TOLERANCE_NS + 1)
    window = prove_window(_of(later, *stamped.receipts), WallClocks(open_ns=0, seal_ns=0))
    assert len(window.failures) == 1
    assert "a recording cannot be older than what it holds" in window.failures[0]


@pytest.mark.parametrize(
    ("beacon_by", "receipt_by", "named"),
    [
        (None, "lab", ("OPEN",)),
        ("lab", None, (name(9),)),
        (None, None, ("OPEN", name(9))),
    ],
    ids=["forged beacon", "forged receipt", "both"],
)
def test_a_time_that_nobody_vouches_for_condemns_nothing(
    beacon_by: str | None, receipt_by: str | None, named: tuple[str, ...]
) -> None:
    window = prove_window(
        _of(
            _receipt("OPEN", None, 2**60, trusted_by=beacon_by),
            _receipt(name(9), Covers.SEAL, SECOND_NS, trusted_by=receipt_by),
        ),
        WallClocks(open_ns=2**60, seal_ns=SECOND_NS),
    )
    assert window.failures == ()
    assert window.warnings[0].startswith("THE TIME-STAMPS CONTRADICT EACH OTHER: ")
    assert not any("THE TIME-STAMPS" in text for text in window.warnings[1:])
    said = " and ".join(f"{who} (CN=lab TSA)" for who in named)
    assert f"nobody who vouches for {said}:" in window.warnings[0]


def test_two_trusted_clocks_may_disagree_by_a_minute() -> None:
    begun_ns = 1000 * SECOND_NS
    failed = {}
    for off_ns in (0, 1, 5 * SECOND_NS, TOLERANCE_NS, TOLERANCE_NS + 1):
        receipt = _receipt(name(9), Covers.SEAL, begun_ns - off_ns)
        window = prove_window(
            _of(_receipt("OPEN", None, begun_ns), receipt),
            WallClocks(open_ns=begun_ns, seal_ns=begun_ns - off_ns),
            max_window_ns=SECOND_NS,
        )
        failed[off_ns] = len(window.failures)
        loud = [w for w in window.warnings if w.startswith("THE AUTHORITIES' CLOCKS DISAGREE by")]
        assert len(loud) == (0 < off_ns <= TOLERANCE_NS)
        assert window.length_ns == off_ns
        assert len(window.broken_rules) == (off_ns > SECOND_NS)
        assert any("a window of" in line for line in window.lines) == (off_ns == 0)
    assert list(failed.values()) == [0, 0, 0, 0, 1]


def test_a_clock_outside_of_the_window_is_said_loudly() -> None:
    known = _of(
        _receipt("OPEN", None, 100 * SECOND_NS),
        _receipt(name(8), Covers.OPEN, 200 * SECOND_NS),
        _receipt(name(9), Covers.SEAL, 300 * SECOND_NS),
    )

    def warned(open_s: int, seal_s: int | None) -> tuple[str, ...]:
        seal_ns = None if seal_s is None else seal_s * SECOND_NS
        return prove_window(known, WallClocks(open_ns=open_s * SECOND_NS, seal_ns=seal_ns)).warnings

    assert warned(100, 300) == ()
    assert warned(150, None) == ()
    wrong = [
        (warned(99, 300), "OPEN"),
        (warned(201, 300), "OPEN"),
        (warned(150, 301), "SEAL"),
        (warned(150, 99), "SEAL"),
    ]
    for early_or_late, record in wrong:
        assert len(early_or_late) == 1
        assert early_or_late[0].startswith(f"THE RECORDER'S CLOCK WAS WRONG: {record} says")
        assert "1.000 s" in early_or_late[0]


# --- rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit_s", "broken"), [(200, 0), (199, 1), (None, 0)], ids=["held", "too long", "no rule"]
)
def test_the_longest_window_is_a_rule(limit_s: int | None, broken: int) -> None:
    known = _of(
        _receipt("OPEN", None, 100 * SECOND_NS), _receipt(name(9), Covers.SEAL, 300 * SECOND_NS)
    )
    window = prove_window(
        known,
        WallClocks(open_ns=0, seal_ns=0),
        max_window_ns=None if limit_s is None else limit_s * SECOND_NS,
        require_receipt=True,
    )
    assert len(window.broken_rules) == broken


def test_rules_need_what_they_ask_for() -> None:
    untrusted = _of(None, _receipt(name(9), Covers.SEAL, 300 * SECOND_NS, trusted_by=None))
    window = prove_window(
        untrusted, WallClocks(open_ns=0, seal_ns=0), max_window_ns=1, require_receipt=True
    )
    assert [rule.split(":")[0] for rule in window.broken_rules] == [
        "require_receipt",
        "max_window_s",
    ]


# --- OpenTimestamps ---------------------------------------------------------------------------


def test_a_known_block_proves_the_end() -> None:
    proof, root = ots_receipt(BitcoinBlockHeaderAttestation(7), message=note(9))
    header = BlockHeader(height=7, merkle_root=root, time=1_750_000_000)
    found = checked(ReceiptFile(name=name(9, "ots"), data=proof), headers=(header,))
    window = prove_window(found, WallClocks(open_ns=0, seal_ns=0))
    assert window.not_after is not None
    assert window.not_after.t_ns == (1_750_000_000 + 7200) * SECOND_NS
    assert "Bitcoin block 7" in window.not_after.by


def test_a_pending_receipt_proves_nothing_yet() -> None:
    proof, _ = ots_receipt(PendingAttestation("https://c.example"), message=note(9))
    found = checked(ReceiptFile(name=name(9, "ots"), data=proof))
    assert found.failures == ()
    assert found.receipts == ()
    assert any("only promised" in line for line in found.not_proved)


def test_one_of_another_file_is_a_failure() -> None:
    proof, _ = ots_receipt(PendingAttestation("https://c.example"), message=note(8))
    found = checked(ReceiptFile(name=name(9, "ots"), data=proof))
    assert len(found.failures) == 1
    assert "for another file" in found.failures[0]


def test_without_the_extra_it_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ots, "INSTALLED", False)
    found = checked(ReceiptFile(name=name(9, "ots"), data=b"anything"))
    assert found.failures == ()
    assert any("receipt not checked" in line for line in found.not_proved)


def _receipt(
    file: str, covers: Covers | None, t_ns: int, *, trusted_by: str | None = "lab"
) -> Receipt:
    return Receipt(
        name=file,
        covers=covers,
        given_by="CN=lab TSA",
        trusted_by=trusted_by,
        time_ns=t_ns,
        earliest_ns=t_ns,
        latest_ns=t_ns,
        why_not="" if trusted_by else "nobody vouches for it",
    )


def _of(beacon: Receipt | None, *receipts: Receipt) -> ReceiptsChecked:
    return ReceiptsChecked(
        beacon=beacon, receipts=receipts, failures=(), not_proved=(), warnings=()
    )
