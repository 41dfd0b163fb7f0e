"""Examples of messages in the AsyncAPI document: what a recorder once published, word for word.

`scripts/capture_examples.py` records a session on a real server and writes the file; tests hold it
against the schemas.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

FILE = Path(__file__).with_suffix(".json")


@cache
def examples() -> dict[str, list[dict[str, Any]]]:
    """Message name to its examples, in AsyncAPI's form: name, headers, payload."""
    found = msgspec.json.decode(FILE.read_bytes(), type=dict[str, list[dict[str, Any]]])
    return dict(sorted(found.items()))
