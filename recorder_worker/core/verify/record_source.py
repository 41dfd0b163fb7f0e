"""The records of a folder, one at a time, in whichever form they lie.

Where a crash has left both forms, every file of the journal must hold the same bytes as its place
in `records`. What is wrong is a finding of step 1; the records up to there are given.
"""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.records.codec import MAX_RECORD_SIZE
from recorder_worker.core.records.file import unframed
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.listing import COMPACT, Listing
from recorder_worker.core.verify.reader import RecordingReader, read_bounded
from recorder_worker.core.verify.steps import tampered


def check_form(listing: Listing, findings: Findings) -> None:
    """A sealed folder has all of its files; a clip is one."""
    sealed = listing.compact or listing.clip
    if sealed and not listing.in_journal:
        for name in COMPACT:
            # A clip of a session that is not sealed has no seal: its records say that.
            if name not in listing.compact and not (listing.clip and name == keys.SEAL):
                findings.tampered(f"{name}: expected in a sealed recording")
    elif listing.clip:
        findings.tampered(f"{keys.JOURNAL}: expected none in a clip")
    elif listing.compact:
        findings.warn(
            "both the journal and compact files are there: the recorder was stopped while it "
            "was sealing, or is sealing now; they are compared"
        )


def records_of(reader: RecordingReader, listing: Listing, findings: Findings) -> Iterator[bytes]:
    """The records up to the first that cannot be read."""
    compact = keys.RECORDS in listing.compact
    if compact:
        source = _compact(reader, listing, findings)
    elif listing.clip:
        return
    else:
        source = _journal(reader, listing)
    with findings.catching(keys.RECORDS if compact else keys.LEAVES):
        yield from source


def _compact(reader: RecordingReader, listing: Listing, findings: Findings) -> Iterator[bytes]:
    count = 0
    for data in unframed(reader.stream(keys.RECORDS)):
        if listing.newest_leaf >= 0:
            _compare(reader, count, data, findings)
        yield data
        count += 1
    if listing.newest_leaf >= count:
        raise tampered(
            f"{keys.leaf(listing.newest_leaf)}: expected in {keys.RECORDS} as well, which has "
            f"{count} records"
        )


def _compare(reader: RecordingReader, index: int, data: bytes, findings: Findings) -> None:
    name = keys.leaf(index)
    with findings.catching(name):
        try:
            found = read_bounded(reader, name, MAX_RECORD_SIZE)
        except BlobMissingError:
            return  # the recorder removes the journal when the compact files are there
        if found != data:
            raise tampered(f"{name}: expected the bytes of record {index}")


def _journal(reader: RecordingReader, listing: Listing) -> Iterator[bytes]:
    """A recording that goes on meanwhile may give more than were listed."""
    index = 0
    while True:
        try:
            data = read_bounded(reader, keys.leaf(index), MAX_RECORD_SIZE)
        except BlobMissingError:
            break
        yield data
        index += 1
    if listing.newest_leaf >= index:
        newest = keys.leaf(listing.newest_leaf)
        raise tampered(f"{keys.leaf(index)} is missing, and {newest} is there")
