"""The connection to one bucket: where it is, with which login, and how long is waited for it.

botocore without boto3: its calls are the API's own. Those say what the others hide, and what this
store needs: a write only where nothing is (`If-None-Match`, also at the end of an upload in parts),
the SHA-256 that the server has computed, and the code of every refusal. Nothing is taken from the
environment, from files below `~/.aws`, or from a machine's metadata service: a recorder calls whom
its settings name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.session
import msgspec
from botocore.config import Config

from recorder_worker.adapters.s3.login_file import LoginFile

CONNECT_S = 5.0
ATTEMPTS = 2
"""Whoever calls has waits of his own between tries; one more at once is for a connection that the
server has closed meanwhile."""
CONNECTIONS = 16

_NOTHING = "/dev/null"


class S3Place(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket, and what is below a prefix of it.

    Attributes:
        url: of the server; bucket and key come behind it.
        credentials_file: path of a file with the login, in place of key, secret and token.
        prefix: in front of every key; empty, or with `/` at its end.
        ca_file: path of authorities (PEM); empty: those that the system trusts.
        timeout_s: how long an answer, or its next bytes, are waited for.
        part_bytes: larger blobs are sent in parts of this size.
    """

    url: str
    bucket: str
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    credentials_file: str = ""
    region: str = "us-east-1"
    prefix: str = ""
    ca_file: str = ""
    timeout_s: float = 20.0
    part_bytes: int = 16_777_216

    def __repr__(self) -> str:
        return f"S3Place(url={self.url!r}, bucket={self.bucket!r}, prefix={self.prefix!r})"


def s3_client(place: S3Place) -> Any:  # noqa: ANN401  (botocore makes the class at run time)
    """A client; threads may share it. Nothing is sent yet."""
    settled = {
        "profile": (None, None, None, None),
        "config_file": (None, None, _NOTHING, None),
        "credentials_file": (None, None, _NOTHING, None),
    }
    session = botocore.session.Session(session_vars=settled)
    if place.credentials_file:
        login = LoginFile(Path(place.credentials_file))
        session.register_component("credential_provider", login)
    return session.create_client(
        "s3",
        region_name=place.region,
        endpoint_url=place.url,
        verify=place.ca_file or True,
        aws_access_key_id=place.access_key_id or None,
        aws_secret_access_key=place.secret_access_key or None,
        aws_session_token=place.session_token or None,
        config=Config(
            connect_timeout=min(CONNECT_S, place.timeout_s),
            read_timeout=place.timeout_s,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=CONNECTIONS,
            # Those that we send are SHA-256, and what comes back is hashed by whoever asked for it.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
            proxies={},
            user_agent_appid="session-recorder",
        ),
    )
