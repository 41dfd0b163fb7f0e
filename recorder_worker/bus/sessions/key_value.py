"""One NATS KV bucket, read so that an answer is known from silence.

nats-py's own `get` says of a bucket that is gone that the key is not there: for a list of revoked
tokens that would be an open gate. And it may ask a replica that is behind; here the leader answers.
"""

from __future__ import annotations

from collections.abc import Callable

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import APIError, BucketNotFoundError, NotFoundError
from nats.js.kv import KV_DEL, KV_OP, KV_PURGE

from recorder_worker.bus.event_log import TRANSIENT
from recorder_worker.core.errors import BusUnavailableError

NO_MESSAGE = 10037
"""No message found: nats-server's word for a key that is not there, in a bucket that is."""

SILENCE = (*TRANSIENT, APIError, nats.errors.Error)


class KeyValueBucket:
    """A bucket by its name, on the present connection."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], name: str) -> None:
        self._jetstream = jetstream
        self.name = name

    async def get(self, key: str) -> bytes | None:
        """The value of a key; None where it has none.

        Raises:
            BusUnavailableError: no answer, or no such bucket; nothing is known.
        """
        try:
            message = await self._jetstream().get_last_msg(
                f"KV_{self.name}", f"$KV.{self.name}.{key}"
            )
        except NotFoundError as error:
            if error.err_code == NO_MESSAGE:
                return None
            raise self._silent(error) from error
        except SILENCE as error:
            raise self._silent(error) from error
        operation = (message.headers or {}).get(KV_OP)
        return None if operation in (KV_DEL, KV_PURGE) else message.data or b""

    async def put(self, key: str, value: bytes) -> None:
        """Set a key. Raises BusUnavailableError."""
        try:
            await (await self._jetstream().key_value(self.name)).put(key, value)
        except (BucketNotFoundError, *SILENCE) as error:
            raise self._silent(error) from error

    async def delete(self, key: str) -> None:
        """Take a key away; its history stays. Raises BusUnavailableError."""
        try:
            await (await self._jetstream().key_value(self.name)).delete(key)
        except (BucketNotFoundError, *SILENCE) as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> BusUnavailableError:
        return BusUnavailableError(f"no answer from the NATS bucket {self.name}: {error!r}")
