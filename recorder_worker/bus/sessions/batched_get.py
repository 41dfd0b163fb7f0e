"""Reads many messages of a stream by one request: a batch of direct gets.

nats-py asks for one message at a time. A consumer would do as well, but whoever may make one may
have JetStream publish for him (permissions.py), and so nobody makes any.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.manager import JetStreamManager

BATCH = 256
"""So many messages, of a kilobyte each, are on their way at once."""
NEXT_S = 5.0

STATUS = "Status"
NOT_FOUND, END_OF_BATCH, NO_RESPONDERS = "404", "204", "503"


async def read_batch(
    jetstream: JetStreamContext,
    stream: str,
    sequence: int,
    subject: str = ">",
    batch: int = BATCH,
) -> AsyncIterator[RawStreamMsg]:
    """Messages of a stream from a sequence on, at most `batch`, in their order; none at its end.

    Raises:
        nats.errors.Error: no answer, or another one.
    """
    client = jetstream._nc  # noqa: SLF001  (nats-py's own calls go through it as well)
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        asked = json.dumps({"seq": sequence, "batch": batch, "next_by_subj": subject})
        ask = f"{jetstream._prefix}.DIRECT.GET.{stream}"  # noqa: SLF001  (as above)
        await client.publish(ask, asked.encode(), reply=inbox)
        while True:
            answer = await answers.next_msg(timeout=NEXT_S)
            if _is_end(answer):
                return
            yield JetStreamManager._lift_msg_to_raw_msg(answer)  # noqa: SLF001  (as above)
    finally:
        with suppress(nats.errors.Error):  # the connection may be closed
            await answers.unsubscribe()


def _is_end(answer: Msg) -> bool:
    status = (answer.headers or {}).get(STATUS)
    if status == NO_RESPONDERS:
        raise nats.errors.NoRespondersError
    return status in {NOT_FOUND, END_OF_BATCH}
