"""What authorisation keeps in NATS KV buckets: revoked tokens, and a JWK Set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.connection.client_connection import Denials, connect_client
from recorder_worker.bus.sessions.key_value import KeyValueBucket
from recorder_worker.core.access.identity import Identity
from recorder_worker.core.access.revocation import (
    Revocation,
    key_of_subject,
    key_of_token,
    revocation_in,
)
from recorder_worker.core.errors import KeysUnreadableError

JWKS_KEY = "jwks"


class RevocationList:
    """`Revocations` in a bucket, looked up at every token: an entry counts at once."""

    def __init__(self, bucket: KeyValueBucket) -> None:
        self._bucket = bucket

    async def find(self, identity: Identity) -> tuple[Revocation, ...]:
        """What is listed of a token and of its subject. Raises BusUnavailableError."""
        keys = [key_of_subject(identity.actor)]
        if identity.token_id:
            keys.append(key_of_token(identity.token_id))
        values = await asyncio.gather(*(self._bucket.get(key) for key in keys))
        return tuple(revocation_in(value) for value in values if value is not None)

    async def enter(self, key: str, revocation: Revocation) -> None:
        """List a token or subject by its key. Raises BusUnavailableError."""
        await self._bucket.put(key, msgspec.json.encode(revocation))

    async def remove(self, key: str) -> bool:
        """Take an entry away; whether there was one. Raises BusUnavailableError."""
        if await self._bucket.get(key) is None:
            return False
        await self._bucket.delete(key)
        return True


@asynccontextmanager
async def revocation_list(login: Login, bucket: str) -> AsyncIterator[RevocationList]:
    """The list over a connection of its own, for whoever enters tokens.

    Raises:
        BusUnavailableError: no server, or it refuses the login.
    """
    client = await connect_client(login, Denials())
    try:
        jetstream = client.jetstream(prefix=login.api_prefix)
        yield RevocationList(KeyValueBucket(lambda: jetstream, bucket))
    finally:
        await client.close()


class JwksBucket:
    """`JwksSource` under one key of a bucket."""

    def __init__(self, bucket: KeyValueBucket) -> None:
        self._bucket = bucket

    def __str__(self) -> str:
        return f"key {JWKS_KEY} of auth.jwks_bucket {self._bucket.name}"

    async def read(self) -> bytes:
        """Its bytes.

        Raises:
            BusUnavailableError: no answer.
            KeysUnreadableError: there are none.
        """
        data = await self._bucket.get(JWKS_KEY)
        if data is None:
            raise KeysUnreadableError(f"{self}: expected a JWK Set, found none; put one there")
        return data
