"""What an operator allows, and the ways round it that were thought of."""

from __future__ import annotations

import pytest

from recorder_worker.core.errors import SourceForbiddenError
from recorder_worker.core.sources.rules import (
    SourceRules,
    check_device,
    check_display,
    check_file,
    check_host,
    check_kind,
    check_subject,
    subject_matches,
)

OPEN = SourceRules(hosts=("0.0.0.0/0", "::/0", "localhost", "lab7"))
"""Whoever allows every address does not mean the ones that give away a machine's credentials."""


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",  # AWS, Azure, Google, OpenStack
        "169.254.170.2",  # AWS, containers
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "168.63.129.16",  # Azure's wire server
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",  # through NAT64
        "2002:a9fe:a9fe::1",  # through 6to4
        "::a9fe:a9fe",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ],
)
@pytest.mark.parametrize("host", ["lab7", "any.example"])
def test_no_rule_allows_metadata_and_special_addresses(address: str, host: str) -> None:
    with pytest.raises(SourceForbiddenError, match=r"sources\.hosts") as refused:
        check_host(OPEN, host, [address])
    assert refused.value.field == "source.uri"


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(SourceForbiddenError):
        check_host(OPEN, "lab7", ["192.0.2.7", "169.254.169.254"])


@pytest.mark.parametrize(
    ("hosts", "host", "addresses"),
    [
        (("lab7",), "LAB7", ["192.0.2.7"]),
        (("192.0.2.0/24",), "lab7", ["192.0.2.7"]),
        (("192.0.2.7",), "192.0.2.7", ["192.0.2.7"]),
        (("2001:db8::/32",), "lab7", ["2001:db8::7"]),
        (("localhost",), "localhost", ["127.0.0.1", "::1"]),
        (("127.0.0.0/8",), "127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_a_listed_host_gives_the_address_to_connect_to(
    hosts: tuple[str, ...], host: str, addresses: list[str]
) -> None:
    assert check_host(SourceRules(hosts=hosts), host, addresses) == addresses[0]


@pytest.mark.parametrize(
    ("hosts", "host", "addresses"),
    [
        (("lab7",), "lab8", ["192.0.2.7"]),
        (("192.0.2.0/24",), "lab7", ["198.51.100.7"]),
        # A name's owner decides where it leads: not to this machine.
        (("lab7",), "lab7", ["127.0.0.1"]),
        (("localhost",), "localhost", ["192.0.2.7", "169.254.169.254"]),
        (("localhost",), "127.0.0.1.example", ["127.0.0.1"]),
        (("localhost",), "lab7", ["::ffff:127.0.0.1"]),
        ((), "localhost", ["127.0.0.1"]),
        (("lab7",), "lab7", []),
    ],
)
def test_other_hosts_are_refused(hosts: tuple[str, ...], host: str, addresses: list[str]) -> None:
    with pytest.raises(SourceForbiddenError):
        check_host(SourceRules(hosts=hosts), host, addresses)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/media/a.mkv", True),
        ("/media/deep/a.mkv", True),
        ("/media", True),
        ("/media2/a.mkv", False),
        ("/etc/passwd", False),
        ("/media/private/a.mkv", False),
    ],
)
def test_a_file_must_lie_below_a_root_and_not_be_hidden(path: str, allowed: bool) -> None:
    rules = SourceRules(file_roots=("/media",), hidden=("/media/private",))
    if allowed:
        check_file(rules, path, path)
        return
    with pytest.raises(SourceForbiddenError, match=r"below /media"):
        check_file(rules, path, path)


def test_everything_is_a_root_too_and_no_root_allows_nothing() -> None:
    check_file(SourceRules(), "/any/where.mkv", "")
    with pytest.raises(SourceForbiddenError, match="no directory"):
        check_file(SourceRules(file_roots=()), "/any/where.mkv", "")


def test_kinds_and_displays_are_allowed_by_name() -> None:
    rules = SourceRules(kinds=("x11",), displays=(":10", ":2*"))
    check_kind(rules, "x11")
    check_display(rules, ":10")
    check_display(rules, ":21")
    with pytest.raises(SourceForbiddenError, match="one of x11, found file") as refused:
        check_kind(rules, "file")
    assert refused.value.field == "source.kind"
    with pytest.raises(SourceForbiddenError, match=r":10, :2\*"):
        check_display(rules, ":1")


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("source.>", "source.a", True),
        ("source.>", "source.a.b", True),
        ("source.>", "source", False),
        ("source.*", "source.a", True),
        ("source.*", "source.a.b", False),
        ("source.*.frames", "source.a.frames", True),
        ("source.*.frames", "source.a.b", False),
        ("source.lab", "source.lab", True),
        ("source.lab", "source.labs", False),
        (">", "anything.at.all", True),
    ],
)
def test_subjects_fall_under_patterns_as_nats_has_them(
    pattern: str, subject: str, *, matches: bool
) -> None:
    assert subject_matches(pattern, subject) is matches


@pytest.mark.parametrize(
    "subject",
    [
        *("session.start", "session.captured.x", "recorder.api.get", "integration.anchor.receipt"),
        *("audit.command.denied", "client.a.b", "stored.session.sealed.x", "JS.RECORDER.API.INFO"),
        *("_INBOX.a.b", "_R_.a", "$SYS.a", "$JS.API.INFO", "a.*", "a.>", "a..b", "a.b\n", "a b.c"),
    ],
)
def test_no_rule_allows_the_recorders_own_subjects_or_patterns(subject: str) -> None:
    with pytest.raises(SourceForbiddenError, match=r"sources\.subjects") as refused:
        check_subject(SourceRules(subjects=(">",)), subject)
    assert refused.value.field == "source.uri"


def test_devices_and_subjects_are_held_against_their_lists() -> None:
    rules = SourceRules(devices=("/dev/video1", "/dev/v4l/by-id/*"), subjects=("source.lab.*",))
    check_device(rules, "/dev/video1")
    check_device(rules, "/dev/v4l/by-id/usb-camera")
    check_subject(rules, "source.lab.frames")
    for device in ("/dev/video10", "/dev/video0"):
        with pytest.raises(SourceForbiddenError, match=r"sources\.devices"):
            check_device(rules, device)
    with pytest.raises(SourceForbiddenError, match=r"source\.lab"):
        check_subject(rules, "source.other.frames")
