"""Verifies a recording offline: no NATS, no network, no secret (docs/verify.md)."""

from recorder_worker.core.verify.policy import TrustedKey, TrustPolicy, parse_policy
from recorder_worker.core.verify.reader import RecordingReader
from recorder_worker.core.verify.report import (
    Cadence,
    ClipShown,
    GapFound,
    HoldFound,
    RemovalFound,
    Report,
    RetentionFound,
    RuleResult,
    StepResult,
    Trust,
    TrustStatus,
    WindowProved,
)
from recorder_worker.core.verify.steps import Status, Step
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED, Verdict
from recorder_worker.core.verify.verifier import verify

__all__ = [
    "EXIT_CODES",
    "EXIT_UNTRUSTED",
    "Cadence",
    "ClipShown",
    "GapFound",
    "HoldFound",
    "RecordingReader",
    "RemovalFound",
    "Report",
    "RetentionFound",
    "RuleResult",
    "Status",
    "Step",
    "StepResult",
    "Trust",
    "TrustPolicy",
    "TrustStatus",
    "TrustedKey",
    "Verdict",
    "WindowProved",
    "parse_policy",
    "verify",
]
