"""The audit trail: who did what, in bundles of exact messages, chained and entered in the log.

docs/audit.md says what it proves, docs/format.md has its bytes.
"""
