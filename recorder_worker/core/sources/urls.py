"""URLs of sources: what of them may be shown, and what of them is a login."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

LOGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<login>[^/?#\s\"]*)@")
_PERHAPS = re.compile(r"(?<=://).*@", re.DOTALL)


def shown(text: str) -> str:
    """A URL, or what a client wrote for one, without anything between `://` and the last `@`.

    That is more than a login where a path has one in it, and all of one that was written wrongly:
    with a blank, a quote or a slash in its password.
    """
    return _PERHAPS.sub("", text)


def bare(uri: str) -> str:
    """A URL without its login."""
    return LOGIN.sub(r"\g<scheme>", uri, count=1)


def host_of(uri: str) -> str:
    """The host in a URL. Raises ValueError."""
    return (urlsplit(uri).hostname or "").lower()
