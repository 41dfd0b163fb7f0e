"""What bringing a stream or consumer to its declared shape would take away from it.

The doctor may be run with other settings than the workers have. So it mends only what adds:
whatever would let go of messages, copies or protection is left to people.
"""

from __future__ import annotations

from nats.js.api import ConsumerConfig, StreamConfig

LIMITS = ("max_age", "max_bytes", "max_msgs", "max_msgs_per_subject")
"""Lower ones let go of messages. One that is not positive is none."""
AMOUNTS = ("num_replicas", "duplicate_window")
"""Less of these is less safe."""
PROTECTION = ("deny_delete", "deny_purge")
SUBJECTS = ("subjects", "filter_subjects", "filter_subject")


def takes_away(
    name: str, present: StreamConfig | ConsumerConfig, declared: StreamConfig | ConsumerConfig
) -> bool:
    """Whether the declared value of a setting gives less than the present one."""
    if name in SUBJECTS:
        return not _subjects(present) <= _subjects(declared)
    now, then = getattr(present, name), getattr(declared, name)
    if name in LIMITS:
        return (then or 0) > 0 and ((now or 0) <= 0 or then < now)
    if name in AMOUNTS:
        return (then or 0) < (now or 0)
    return name in PROTECTION and bool(now) and not then


def _subjects(config: StreamConfig | ConsumerConfig) -> set[str]:
    if isinstance(config, StreamConfig):
        return set(config.subjects or ())
    filters = [*(config.filter_subjects or ()), config.filter_subject]
    return {subject for subject in filters if subject}
