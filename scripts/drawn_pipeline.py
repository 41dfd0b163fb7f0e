"""The drawn parts of docs/architecture.md and docs/bus.md: stages, states, streams, consumers."""

from __future__ import annotations

from markdown_parts import code, first_line, mermaid, table
from nats.js.api import StreamConfig

from recorder_worker.bus.disposition import DISPOSITIONS
from recorder_worker.bus.streams.consumers import Consumer, consumers
from recorder_worker.bus.streams.topology import streams
from recorder_worker.core.lifecycle import TRANSITIONS, State
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.core.subjects import Command
from recorder_worker.service import policies
from recorder_worker.service.settings.tree import Settings


def stages() -> str:
    """The stages, who feeds whom, and what clients see of it."""
    lines = ["flowchart LR", "  clients([clients])"]
    consumed: set[str] = set()
    for stage in CONSUMERS:
        lines.append(f"  {stage.name}[{stage.name}]")
        commands = [str(subject) for subject in stage.consumes if subject in set(Command)]
        if commands:
            lines.append(f'  clients -->|"{"<br>".join(commands)}"| {stage.name}')
        for other in CONSUMERS:
            fed = [f.wildcard for f in other.emits if f.wildcard in stage.consumes]
            consumed.update(fed)
            lines += [f'  {other.name} -->|"{subject}"| {stage.name}' for subject in fed]
    lines.append("  facts([facts, for clients and for the log])")
    for stage in CONSUMERS:
        rest = [fact.value for fact in stage.emits if fact.wildcard not in consumed]
        if rest:
            lines.append(f'  {stage.name} -.->|"{"<br>".join(rest)}"| facts')
    head = ("stage", "consumes", "does", "publishes", "order")
    rows = (
        (
            stage.name,
            ", ".join(map(code, map(str, stage.consumes))),
            stage.does,
            ", ".join(code(fact.value) for fact in stage.emits),
            stage.order,
        )
        for stage in CONSUMERS
    )
    return f"{mermaid(lines)}\n\n{table(head, rows)}"


def states() -> str:
    """The life of a session."""
    goes_on = {at for at, _ in TRANSITIONS}
    lines = ["stateDiagram-v2", f"  [*] --> {next(iter(State)).value}"]
    lines += [f"  {at.value} --> {to.value}: {why.value}" for (at, why), to in TRANSITIONS.items()]
    lines += [f"  {state.value} --> [*]" for state in State if state not in goes_on]
    return mermaid(lines)


def stream_table() -> str:
    """The streams, as the default settings declare them."""

    def row(stream: StreamConfig) -> tuple[str, ...]:
        copies = f"{stream.num_replicas} copy"
        kept = f"{stream.max_age:.0f} s, {stream.max_bytes} bytes, {copies}"
        if not stream.max_age:
            kept = f"for ever, the newest {stream.max_msgs} messages, {copies}"
        denied = [n for n in ("deny_delete", "deny_purge") if getattr(stream, n)]
        subjects = ", ".join(map(code, stream.subjects or ()))
        return (code(stream.name), subjects, kept, ", ".join(map(code, denied)))

    limits = policies.bus_settings(Settings(), "node", ()).streams
    return table(("stream", "subjects", "keeps", "forbids"), map(row, streams(limits)))


def consumer_table() -> str:
    """The durable consumers, as the default settings declare them."""

    def row(consumer: Consumer) -> tuple[str, ...]:
        config = consumer.config
        filters = config.filter_subjects or [config.filter_subject or ""]
        return (
            code(config.durable_name),
            code(consumer.stream),
            ", ".join(map(code, filters)),
            f"{config.ack_wait:g} s",
            str(config.max_ack_pending),
            "no limit" if config.max_deliver == -1 else str(config.max_deliver),
        )

    limits = policies.bus_settings(Settings(), "node", ()).consumers
    head = ("consumer", "stream", "filter", "ack wait", "max ack pending", "deliveries")
    return table(head, map(row, consumers(limits).values()))


FOREIGN = {
    "MsgspecError": "The message is not an event of its subject's schema.",
    "UnicodeDecodeError": "The message is not text.",
    "Exception": "Anything else: a defect of ours.",
}
"""What errors mean here that are not ours to describe."""


def dispositions() -> str:
    """What becomes of a message whose handler raised."""
    rows = (
        (
            code(kind.__name__),
            FOREIGN.get(kind.__name__) or first_line(kind.__doc__),
            verdict.value,
        )
        for kind, verdict in DISPOSITIONS
    )
    return table(("raised", "means", "what happens"), rows)


PARTS = {
    "docs/architecture.md": {"stages": stages, "states": states},
    "docs/bus.md": {
        "streams": stream_table,
        "consumers": consumer_table,
        "dispositions": dispositions,
    },
}
