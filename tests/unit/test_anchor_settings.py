from __future__ import annotations

import msgspec
import pytest

from recorder_worker.service.settings.tree import AnchorSettings


@pytest.mark.parametrize(
    "url",
    ["", "https://tsa.example", "http://127.0.0.1:3161/", "https://tsa.example:8443/a/b?c=d@e"],
)
def test_an_authority_is_an_address(url: str) -> None:
    assert msgspec.convert({"tsa_url": url}, AnchorSettings).tsa_url == url


@pytest.mark.parametrize(
    "url",
    [
        "tsa.example",
        "ftp://tsa.example",
        "https://",
        "https://user:secret@tsa.example",
        "http://a b",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    """A password there would stand in every receipt."""
    with pytest.raises(msgspec.ValidationError, match=r"tsa_url"):
        msgspec.convert({"tsa_url": url}, AnchorSettings)
