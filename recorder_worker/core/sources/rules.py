"""Which sources an operator allows: kinds, directories, displays, hosts, devices, subjects. Pure.

What can be recorded is decided by whoever may publish `session.start`; what may be, here. Each
check says what is allowed, and nothing about what is there: a refusal must not tell a stranger
which files or hosts exist.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address

import msgspec

from recorder_worker.core.errors import SourceForbiddenError

Address = IPv4Address | IPv6Address

EVERYTHING = "/"
LOCALHOST = "localhost"

CLOUD_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")
)
"""Addresses at which clouds give a machine's credentials away, beside the link-local ones."""

OWN_SUBJECTS = frozenset(
    {"session", "recorder", "integration", "audit", "client", "stored", "JS", "_INBOX", "_R_"}
)
"""How the recorder's own subjects begin, those of its accounts, and those of answers."""

_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")

_EMBEDS_IPV4 = (
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible: deprecated, and still understood
)


class SourceRules(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator allows.

    Attributes:
        kinds: kinds of sources.
        file_roots: absolute directories; a file must lie below one of them.
        displays: patterns of local display names: `:10`, `:1*`.
        hosts: names, addresses or networks that a source may be reached at.
        hidden: absolute directories from which nothing is recorded, whatever the roots say.
        devices: patterns of cameras and grabbers: `/dev/video0`, `/dev/video*`.
        subjects: NATS subjects that frames are taken from, with `*` and `>` as NATS has them.
        max_pixels: the largest picture that is decoded out of a file or a message.
    """

    kinds: tuple[str, ...] = ("file", "x11", "pattern", "rtsp", "images", "v4l2", "nats")
    file_roots: tuple[str, ...] = (EVERYTHING,)
    displays: tuple[str, ...] = (":*",)
    hosts: tuple[str, ...] = (LOCALHOST,)
    hidden: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("/dev/video*", "/dev/v4l/*")
    subjects: tuple[str, ...] = ("source.>",)
    max_pixels: int = 33_177_600


def check_kind(rules: SourceRules, kind: str) -> None:
    """Raises SourceForbiddenError where sources of a kind are not allowed."""
    if kind not in rules.kinds:
        raise SourceForbiddenError(
            "source.kind",
            f"source kind: expected one of {', '.join(rules.kinds)}, found {kind}; "
            "sources.kinds of the worker says which it records",
        )


def check_display(rules: SourceRules, number: str) -> None:
    """Raises SourceForbiddenError where a display (`:10`) is not allowed."""
    if not any(fnmatchcase(number, pattern) for pattern in rules.displays):
        raise SourceForbiddenError(
            "source.uri",
            f"display {number}: expected one that matches {', '.join(rules.displays) or 'nothing'}"
            "; sources.displays of the worker says which it records",
        )


def check_device(rules: SourceRules, device: str) -> None:
    """Raises SourceForbiddenError where a device (`/dev/video0`) is not allowed."""
    if not any(fnmatchcase(device, pattern) for pattern in rules.devices):
        raise SourceForbiddenError(
            "source.uri",
            f"device {device}: expected one that matches {', '.join(rules.devices) or 'nothing'}"
            "; sources.devices of the worker says which it records",
        )


def check_subject(rules: SourceRules, subject: str) -> None:
    """Raises SourceForbiddenError where frames are not taken from a subject of NATS.

    Whatever the list says, the recorder's own and the server's are none: what it says itself is no
    source, and what others say to it need not be for everybody's eyes.
    """
    own = subject.split(".", maxsplit=1)[0] in OWN_SUBJECTS
    listed = any(subject_matches(pattern, subject) for pattern in rules.subjects)
    if not listed or own or not _SUBJECT.fullmatch(subject):
        raise SourceForbiddenError(
            "source.uri",
            f"subject {subject}: expected one that matches {', '.join(rules.subjects) or 'nothing'}"
            ", without wildcards, and none of the recorder's own; sources.subjects of the worker "
            "says from which it takes frames",
        )


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a pattern of NATS: `*` is one token, `>` all that follow."""
    wanted, found = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(found) <= len(wanted):
            return False
        found = found[: len(wanted)]
    return len(wanted) == len(found) and all(
        token in ("*", other) for token, other in zip(wanted, found, strict=True)
    )


def check_file(rules: SourceRules, path: str, uri: str) -> None:
    """Raises SourceForbiddenError where a file may not be read.

    Args:
        rules: with roots and hidden directories as they are really called.
        path: absolute, without `..` and without a symbolic link in it.
        uri: what the client wrote: all that a refusal repeats.
    """
    if is_below(path, rules.file_roots) and not is_below(path, rules.hidden):
        return
    allowed = ", ".join(rules.file_roots) or "no directory"
    raise SourceForbiddenError(
        "source.uri",
        f"file {uri}: expected a file below {allowed}, and none of the recorder's or the system's "
        "own, found another, or a link that leads to one; sources.file_roots of the worker says "
        "where it may read",
    )


def is_below(path: str, directories: Iterable[str]) -> bool:
    """Whether a path lies in one of the directories, or is one."""
    return any(
        path == directory or path.startswith(directory.rstrip("/") + "/")
        for directory in directories
    )


def check_host(rules: SourceRules, host: str, addresses: Iterable[str]) -> str:
    """The address to connect to: the first. All of them must be allowed.

    A host is allowed by its name, or by a network that holds its addresses. A name vouches for no
    loopback address: whoever answers for that name would decide what of this machine is reached.
    Link-local, metadata, multicast and unspecified addresses are never allowed.

    Raises:
        SourceForbiddenError: at least one address, or the host, is not allowed.
    """
    found = [ipaddress.ip_address(text) for text in addresses]
    networks = [network for entry in rules.hosts if (network := as_network(entry)) is not None]
    named = host.lower() in {entry.lower() for entry in rules.hosts}
    for address in found:
        real = _unwrapped(address)
        listed = any(real in network for network in networks if network.version == real.version)
        at_home = real.is_loopback and host.lower() == LOCALHOST and named
        by_name = named and not real.is_loopback
        if _never(real) or not (listed or at_home or by_name):
            break
    else:
        if found:
            return str(found[0])
    raise SourceForbiddenError(
        "source.uri",
        f"host {host}: expected one of {', '.join(rules.hosts) or 'no host'}, at no link-local, "
        "metadata or multicast address, found another; sources.hosts of the worker says which it "
        "connects to",
    )


def as_network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """An entry of `hosts` as a network; None where it is a name."""
    if entry.lower() == LOCALHOST:
        return None
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries, which is where a packet ends up."""
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    inside = address.ipv4_mapped or address.sixtofour
    if inside is not None:
        return inside
    if any(address in network for network in _EMBEDS_IPV4):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _never(address: Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in CLOUD_METADATA
        or (isinstance(address, IPv4Address) and address == IPv4Address("255.255.255.255"))
    )
