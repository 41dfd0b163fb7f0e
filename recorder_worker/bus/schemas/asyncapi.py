"""The AsyncAPI 3.0 document: one file, drawn from the tables of stages, subjects and streams.

It stands by itself: every schema is inside, so that tools need no other file. FastStream can make
such a document of its subscribers, but not of subjects that are published with a session's id in
them, which is most of what others want to know.
"""

from __future__ import annotations

from typing import Any

from recorder_worker import __version__
from recorder_worker.bus.schemas import (
    asyncapi_copies,
    asyncapi_dead,
    frame_schemas,
    service_schemas,
)
from recorder_worker.bus.schemas.asyncapi_messages import (
    components,
    correlation_ids,
)
from recorder_worker.bus.streams.topology import COMMANDS_STREAM, STREAM_OF
from recorder_worker.core.pipeline import CONSUMERS, SERVICES, Stage
from recorder_worker.core.subjects import Command, Fact

Document = dict[str, Any]

ANSWERS: dict[str, Fact] = {
    Command.START: Fact.STARTED,
    Command.STOP: Fact.SEALED,
    Command.PAUSE: Fact.PAUSED,
    Command.RESUME: Fact.RESUMED,
    Command.MARK: Fact.CAPTURED,
    Command.MASK: Fact.CAPTURED,
    Command.HOLD: Fact.RETENTION,
    Command.RELEASE: Fact.RETENTION,
    Command.DELETE: Fact.RETENTION,
}
"""The fact that says that a command was obeyed. Of one that is not here, only a refusal is told."""

DESCRIPTION = """\
Commands that clients publish and facts that the recorder publishes, as JSON on NATS JetStream.

The application that this document describes is the recorder: it *receives* commands and *sends*
facts. A channel's address is a NATS subject, with the session's id in place of `{session_id}`; a
subscriber to all sessions puts `*` there. `x-jetstream` says which stream holds a channel, and
which durable consumer of it takes an operation's messages.\
"""

SECURITY = {
    "userPassword": {
        "type": "userPassword",
        "description": "User and password of the nats-server (`nats.user`, `nats.password`).",
    },
    "token": {
        "type": "apiKey",
        "in": "user",
        "description": "The token of the nats-server (`nats.token`).",
    },
    "credentials": {
        "type": "asymmetricEncryption",
        "description": "A .creds file: a user's JWT and the NKey that signs the server's nonce "
        "(`nats.credentials`).",
    },
    "certificate": {
        "type": "X509",
        "description": "A client certificate, where the server asks for one (TLS).",
    },
}
"""How to log in at the server."""

BEARER = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Where commands are authorised: a signed token in the header "
        "`Authorization` of the message.",
    }
}
"""How a command says who sends it."""


def asyncapi() -> Document:
    """The document."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:session-recorder",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            **components(),
            "correlationIds": correlation_ids(),
            "securitySchemes": SECURITY | BEARER,
        },
    }


def _info() -> Document:
    return {
        "title": "Session recorder",
        "version": __version__,
        "description": DESCRIPTION,
        "license": {
            "name": "Apache-2.0",
            "url": "https://www.apache.org/licenses/LICENSE-2.0",
        },
        "tags": [
            {"name": "command", "description": "What clients ask for."},
            {"name": "fact", "description": "What the recorder tells."},
            {"name": "dead letter", "description": "What a stage could not process."},
            {"name": "frame", "description": "What other programs publish to be recorded."},
        ],
    }


def _servers() -> Document:
    return {
        "embedded": {
            "host": "127.0.0.1:4222",
            "protocol": "nats",
            "description": "The server that `recorder run` brings along. It asks for a login only "
            "where one is set.",
            "security": [{"$ref": f"#/components/securitySchemes/{s}"} for s in LOCAL_LOGINS],
        },
        "own": {
            "host": "{host}:{port}",
            "protocol": "nats",
            "description": "A server or cluster of your own (`nats.url`).",
            "variables": {
                "host": {"default": "nats", "description": "Its name or address."},
                "port": {"default": "4222", "description": "Its port for clients."},
            },
            "security": [{"$ref": f"#/components/securitySchemes/{s}"} for s in SECURITY],
        },
    }


LOCAL_LOGINS = ("userPassword", "token")
"""Those that the embedded server knows."""


# --- channels -------------------------------------------------------------------------------------


def _channels() -> Document:
    return {
        **{command.value: _command_channel(command) for command in Command},
        **{_answers(command): _answer_channel(command) for command in Command},
        **{fact.value: _fact_channel(fact) for fact in Fact},
        **asyncapi_copies.channels(_PARAMETERS),
        **asyncapi_dead.channels(),
        **service_schemas.channels(),
        **frame_schemas.channels(),
    }


def _command_channel(command: Command) -> Document:
    return {
        "address": command.value,
        "title": f"Command {command.value}",
        "messages": _messages(command.value),
        "tags": [{"name": "command"}],
        "x-jetstream": {"stream": COMMANDS_STREAM},
    }


def _answers(command: Command) -> str:
    return f"{command.value}.answers"


def _answer_channel(command: Command) -> Document:
    """Where a client listens for what became of its command: one of two facts."""
    facts = [fact for fact in (ANSWERS.get(command), Fact.REJECTED) if fact is not None]
    verbs = [fact.value.rsplit(".", 1)[-1] for fact in facts]
    return {
        "address": "session.{answer}.{session_id}",
        "title": f"What became of {command.value}",
        "description": "Subscribe before the command is published: a client may choose the id of "
        "a session that it starts.",
        "parameters": {
            "answer": {"enum": verbs, "description": "What was decided."},
            "session_id": _SESSION_ID,
        },
        "messages": _messages(*(fact.value for fact in facts)),
        "tags": [{"name": "fact"}],
        "x-jetstream": {"stream": STREAM_OF[Fact.REJECTED]},
    }


_SESSION_ID = {
    "description": "The session's id, a UUID in lower case; `unknown` where a refused command "
    "named none."
}


_PARAMETERS = {
    "session_id": _SESSION_ID,
    "worker": {"description": "The worker process."},
}
"""What may stand in a subject."""


def _fact_channel(fact: Fact) -> Document:
    channel: Document = {
        "address": fact.of(f"{{{fact.keyed_by}}}"),
        "title": f"Fact {fact.value}",
        "messages": _messages(fact.value),
        "tags": [{"name": "fact"}],
        "x-jetstream": {"stream": STREAM_OF[fact]},
    }
    if fact.keyed_by:
        channel["parameters"] = {fact.keyed_by: _PARAMETERS[fact.keyed_by]}
    return channel


def _messages(*names: str) -> Document:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


# --- operations -----------------------------------------------------------------------------------


def _operations() -> Document:
    made: Document = {}
    for stage in CONSUMERS:
        for subject in stage.consumes:
            name = subject.removesuffix(".*")
            made[f"{stage.name}.takes.{name}"] = _takes(stage, name)
    for teller in (*CONSUMERS, *SERVICES):
        for fact in teller.emits:
            made[f"{teller.name}.tells.{fact.value}"] = _tells(teller.name, fact.value)
    told = {fact for teller in (*CONSUMERS, *SERVICES) for fact in teller.emits}
    for fact in Fact:
        if fact not in told:  # not a stage's, but of something else that the recorder runs
            made[f"recorder.tells.{fact.value}"] = _tells("the recorder", fact.value)
    made |= asyncapi_dead.operations() | asyncapi_copies.operations() | service_schemas.operations()
    return made | frame_schemas.operations()


def _takes(stage: Stage, name: str) -> Document:
    operation = {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "title": f"{stage.name} takes {name}",
        "summary": f"by: {stage.name}",
        "description": f"{stage.does}. Order: {stage.order}.",
        # Workers of one stage share its durable consumer, as members of a queue group would.
        "bindings": {"nats": {"queue": stage.name, "bindingVersion": "0.1.0"}},
        "x-jetstream": {"durable": stage.name},
    }
    if name in set(Command):
        operation["reply"] = _reply(Command(name))
        operation["security"] = [{"$ref": "#/components/securitySchemes/bearer"}]
    return operation


def _reply(command: Command) -> Document:
    name = _answers(command)
    facts = [fact.value for fact in (ANSWERS.get(command), Fact.REJECTED) if fact is not None]
    return {
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{fact}"} for fact in facts],
    }


def _tells(who: str, channel: str) -> Document:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{channel}"}],
        "title": f"{who} tells {channel}",
        "summary": f"by: {who}",
    }
