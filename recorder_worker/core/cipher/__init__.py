"""How payloads are encrypted (docs/format.md, "Encryption"; docs/encryption.md says why)."""
