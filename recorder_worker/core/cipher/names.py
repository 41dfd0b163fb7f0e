"""The names of ciphers, as events, manifests and records have them."""

from __future__ import annotations

CIPHER_NONE = "none"
CIPHER_SEALED = "chacha20-poly1305"
"""Sealed pieces under the session's key: `pieces`, `session_cipher`."""

CIPHERS = (CIPHER_NONE, CIPHER_SEALED)
"""In the order of their codes in the record, from 1: append only."""
