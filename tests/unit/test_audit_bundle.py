"""A bundle of audit events: one encoding, exact bytes, and a diagnosis for each wound."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.audit_trail.bundle import (
    START,
    BundleText,
    chained,
    parse_bundle,
)
from recorder_worker.core.audit_trail.check import TrailProblem, check_trail
from recorder_worker.core.audit_trail.diagnosis import diagnose
from recorder_worker.core.audit_trail.lines import AgedLine, EventLine, Head, body_fields
from recorder_worker.core.errors import BlobMissingError, FormatError, UnsupportedError
from recorder_worker.core.session_log.entries import NO_SESSION, EntryKind, LogEntry

RECORDER = "recorder-of-tests"
KEY = "ab" * 32
EVENT = b'{"type":"recording_viewed","actor":"kim"}'


def a_bundle(*bodies: bytes, first: int = 1, previous: bytes = START) -> BundleText:
    head = Head(
        v=1,
        recorder=RECORDER,
        first=first,
        previous=previous.hex(),
        made_ns=5,
        device_key=KEY,
    )
    text = BundleText(head)
    for number, body in enumerate(bodies, start=first):
        text.event(
            subject="audit.recording.viewed",
            sequence=number,
            stored_ns=number,
            message_id=f"m{number}",
            **body_fields(body),
        )
    return text


def test_a_bundle_has_the_bytes_of_the_format() -> None:
    data = a_bundle(EVENT, b"\xff").data
    head, one, two = data.decode().splitlines()
    assert head == (
        f'{{"type":"bundle","v":1,"recorder":"{RECORDER}","first":1,"previous":"{"0" * 64}",'
        f'"made_ns":5,"device_key":"{KEY}"}}'
    )
    after = hashlib.sha256(head.encode()).hexdigest()
    assert one == (
        f'{{"type":"event","n":1,"after":"{after}","subject":"audit.recording.viewed",'
        f'"sequence":1,"stored_ns":1,"message_id":"m1","event":{EVENT.decode()}}}'
    )
    assert two.endswith('"message_id":"m2","data":"/w=="}')
    assert chained(START, data) == hashlib.sha256(START + hashlib.sha256(data).digest()).digest()


@given(st.lists(st.one_of(st.binary(max_size=60), st.just(EVENT)), min_size=1, max_size=4))
def test_every_message_comes_back_byte_by_byte(bodies: list[bytes]) -> None:
    bundle = parse_bundle(a_bundle(*bodies).data)
    assert [event.body for event in bundle.events] == bodies
    assert (bundle.last, bundle.newest_ns) == (len(bodies), 5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n":2', b'"n":3'),
        (b'"n":2', b'"n":02'),
        (b'"n":2', b'"n":2.0'),
        (b'"n":2,', b'"n":2,"n":2,'),
        (b'"n":2', b'"m":2'),
        (b'"n":2,', b'"n":2,"more":1,'),
        (b'"event":', b'"event": '),
        (b'"event":', b'"data":"","event":'),
        (b'"type":"event"', b'"type":"note"'),
        (b'"type":"bundle"', b'"type":"bundles"'),
        (b'"first":1', b'"first":2'),
        (b"kim", b"bob"),
        (b"\n", b"\r\n"),
        (b"\n", b"\n\n"),
        (b'{"type":"event"', b' {"type":"event"'),
    ],
)
def test_a_bundle_has_one_encoding(old: bytes, new: bytes) -> None:
    data = a_bundle(EVENT, EVENT, EVENT).data
    assert old in data
    with pytest.raises(FormatError):
        parse_bundle(data.replace(old, new, 1))


@pytest.mark.parametrize("data", [b"", b"\n", b"x", a_bundle().data, a_bundle(EVENT).data[:-1]])
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_bundle(data)


def test_a_later_version_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="expected version 1, found 2"):
        parse_bundle(a_bundle(EVENT).data.replace(b'"v":1', b'"v":2'))


# --- diagnosis ------------------------------------------------------------------------------------


def said_of(data: bytes, previous: bytes = START) -> list[str]:
    return diagnose(data, recorder=RECORDER, previous=previous, numbers=range(1, 5))


LINES = a_bundle(b"[1]", b"[2]", b"[3]", b"[4]").data.splitlines(keepends=True)


def without(*numbers: int) -> bytes:
    return b"".join(line for number, line in enumerate(LINES) if number not in numbers)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (without(2), ["missing: event 2"]),
        (without(1), ["missing: event 1"]),
        (without(3, 4), ["missing: event 3, event 4"]),
        (
            b"".join([LINES[0], LINES[2], LINES[1], *LINES[3:]]),
            ["reordered: event 1 stands behind event 2"],
        ),
        (
            b"".join([*LINES[:3], LINES[2], *LINES[3:]]),
            ["inserted: a line that says it is event 2"],
        ),
        (
            b"".join(LINES).replace(b"[2]", b"[9]"),
            ["event 2 was changed: event 3 does not follow it"],
        ),
        (
            b"".join(LINES).replace(b"[4]", b"[9]"),
            ["one of the events 1 to 4, or the head, was changed, and all links were made anew"],
        ),
        (
            b"".join(LINES).replace(b'"made_ns":5', b'"made_ns":6'),
            ["the head was changed: event 1 does not follow it"],
        ),
    ],
)
def test_each_wound_is_named(data: bytes, says: list[str]) -> None:
    found = said_of(data)
    for text in says:
        assert any(text in one for one in found), found


def test_a_bundle_of_another_place_or_trail_is_told() -> None:
    (found,) = said_of(a_bundle(b"1", b"2", b"3", b"4").data, previous=b"x" * 32)
    assert "it is of another trail" in found
    assert "it is another bundle: expected event 1 first, found 3" in said_of(
        a_bundle(b"1", first=3).data
    )


# --- a whole trail --------------------------------------------------------------------------------


class InMemory:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def bundle_keys(self) -> list[str]:
        return list(self.files)

    def read_bundle(self, key: str, limit: int) -> bytes:
        if key not in self.files:
            raise BlobMissingError(f"{key}: expected a file, found none")
        return self.files[key][:limit]


def a_trail(count: int, aged: dict[str, object] | None = None) -> tuple[InMemory, list[LogEntry]]:
    """Bundles of one event each; the last one may say that others are too old."""
    files, entries, digest = InMemory(), [], START
    for number in range(1, count + 1):
        text = a_bundle(b"%d" % number, first=number, previous=digest)
        last = number
        if aged and number == count:
            text.aged(**aged)
            last += 1
        digest = chained(digest, text.data)
        files.files[f"audit/{number:012d}.jsonl"] = text.data
        entries.append(
            LogEntry(kind=EntryKind.AUDIT, session_id=NO_SESSION, counter=last, note_sha256=digest)
        )
    return files, entries


def test_many_missing_bundles_are_named_up_to_a_limit() -> None:
    files, entries = a_trail(40)
    for key in sorted(files.files)[:30]:
        del files.files[key]
    report = check_trail(entries, files, RECORDER)
    assert (report.bundles, len(report.findings)) == (10, 21)
    assert {finding.problem for finding in report.findings} == {TrailProblem.MISSING}
    assert report.findings[-1].detail == "and 10 bundles more"


def test_a_note_of_age_covers_what_it_says_and_no_more() -> None:
    _, before = a_trail(3)
    digest = before[1].note_sha256.hex()
    files, entries = a_trail(4, {"through": 2, "digest": digest, "max_age_s": 1})
    for number in (1, 2):
        del files.files[f"audit/{number:012d}.jsonl"]
    report = check_trail(entries, files, RECORDER)
    assert (report.findings, report.aged, report.events, report.last) == ((), 2, 2, 5)
    del files.files["audit/000000000003.jsonl"]
    assert len(check_trail(entries, files, RECORDER).findings) == 1


def test_a_note_of_age_with_another_digest_covers_nothing() -> None:
    files, entries = a_trail(4, {"through": 2, "digest": "0" * 64, "max_age_s": 1})
    del files.files["audit/000000000001.jsonl"]
    report = check_trail(entries, files, RECORDER)
    assert (report.aged, len(report.findings)) == (0, 1)


def test_what_the_log_signs_must_be_a_bundle_and_of_this_recorder() -> None:
    files, entries = InMemory(), []
    theirs = a_bundle(EVENT).data
    for data, recorder, says in (
        (theirs, "another", "it says"),
        (b"no bundle\n", RECORDER, "it was entered, and is none"),
    ):
        files.files["audit/000000000001.jsonl"] = data
        entries = [
            LogEntry(
                kind=EntryKind.AUDIT,
                session_id=NO_SESSION,
                counter=1,
                note_sha256=chained(START, data),
            )
        ]
        (finding,) = check_trail(entries, files, recorder).findings
        assert (finding.problem, says in finding.detail) == (TrailProblem.CHANGED, True)


def test_what_follows_and_what_is_strange_is_told_and_no_problem() -> None:
    files, entries = a_trail(3)
    files.files["audit/notes.txt"] = b"x"
    files.files["audit/proofs/000000000001"] = b"a proof"
    report = check_trail(entries[:2], files, RECORDER)
    assert report.findings == ()
    assert [text.split(":")[0] for text in report.warnings] == [
        "audit/000000000003.jsonl",
        "audit/notes.txt",
    ]
    assert "not entered in the log yet" in report.warnings[0]


def test_lines_of_all_kinds_come_back() -> None:
    text = a_bundle(EVENT)
    text.gap(reason="messages_missing", missing=3, from_ns=1, to_ns=2, resume=4)
    text.aged(through=1, digest="0" * 64, max_age_s=60)
    bundle = parse_bundle(text.data)
    assert [type(line).__name__ for line in bundle.lines] == ["EventLine", "GapLine", "AgedLine"]
    one, _, aged = bundle.lines
    assert isinstance(one, EventLine)
    assert isinstance(aged, AgedLine)
    assert (aged.n, aged.through) == (3, 1)
    assert msgspec.json.decode(one.body)["actor"] == "kim"
