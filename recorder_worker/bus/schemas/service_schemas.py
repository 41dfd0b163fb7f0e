"""The gateway's part of the schemas: requests, answers and errors, and their AsyncAPI channels."""

from __future__ import annotations

from typing import Any

from recorder_worker.core.gateway_messages import ANSWER_TYPES, REQUEST_TYPES, GatewayError
from recorder_worker.core.subjects import Endpoint

ERROR = "recorder.api.error"


def types() -> dict[str, Any]:
    """Schema name to type: `<subject>.request`, `<subject>.answer`, and the error of all."""
    found: dict[str, Any] = {ERROR: GatewayError}
    for endpoint in Endpoint:
        found[f"{endpoint.value}.request"] = REQUEST_TYPES[endpoint]
        found[f"{endpoint.value}.answer"] = ANSWER_TYPES[endpoint]
    return found


def channels() -> dict[str, Any]:
    """For each endpoint its subject, and the inbox that the client names for the answer."""
    found: dict[str, Any] = {}
    for endpoint in Endpoint:
        subject = endpoint.value
        found[subject] = {
            "address": subject,
            "description": (REQUEST_TYPES[endpoint].__doc__ or "").strip().split("\n")[0],
            "messages": _messages(f"{subject}.request"),
        }
        found[f"{subject}.answer"] = {
            "address": None,
            "description": "The inbox that the request names. An error has the header "
            "`Nats-Service-Error-Code`.",
            "messages": _messages(f"{subject}.answer", ERROR),
        }
    return found


def operations() -> dict[str, Any]:
    """Each request is received, and answered."""
    return {
        f"gateway.answers.{endpoint.value}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{endpoint.value}"},
            "messages": [
                {"$ref": f"#/channels/{endpoint.value}/messages/{endpoint.value}.request"}
            ],
            "summary": "by: gateway",
            "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            "reply": {
                "address": {
                    "location": "$message.header#/reply",
                    "description": "The inbox that comes with a NATS request.",
                },
                "channel": {"$ref": f"#/channels/{endpoint.value}.answer"},
                "messages": [
                    {"$ref": f"#/channels/{endpoint.value}.answer/messages/{name}"}
                    for name in (f"{endpoint.value}.answer", ERROR)
                ],
            },
        }
        for endpoint in Endpoint
    }


def _messages(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}
