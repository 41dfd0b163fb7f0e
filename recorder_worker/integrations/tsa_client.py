"""Asks a time-stamp authority over HTTP (RFC 3161 §3.4) and verifies what comes back."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
import msgspec
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from recorder_worker.core.errors import PermanentError, RecorderError, TransientError
from recorder_worker.core.receipts.authorities import TimestampAuthority
from recorder_worker.core.receipts.cms import MAX_TIMESTAMP_SIZE
from recorder_worker.core.receipts.timestamp import TimestampFound, verify_timestamp

QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
_PIECE_BYTES = 16_384


class AuthorityAnswerError(RecorderError):
    """The authority answers, and not with a time-stamp that holds: tried again, not for ever."""


class AuthorityAwayError(TransientError):
    """The authority does not answer, or says that it cannot now."""


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """Where the authority is, how long it may take, and whose time-stamps are taken.

    `trusted` empty: whoever answers there is believed to be who was meant; whoever verifies a
    recording decides for themselves.
    """

    url: str
    timeout_s: float
    trusted: Sequence[TimestampAuthority] = ()


async def time_stamp(authority: Authority, message: bytes) -> tuple[bytes, TimestampFound]:
    """A time-stamp over a message: the response as it came, and what it says.

    Raises:
        AuthorityAwayError: no answer in time, or a status of 429 or from 500 on.
        AuthorityAnswerError: any other answer than a time-stamp over the message with the nonce
            that was asked for, signed by whom it should be.
    """
    query = (
        TimestampRequestBuilder()
        .data(message)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    response = await _post(authority, query.as_bytes())
    try:
        found = verify_timestamp(response, message, authority.trusted)
    except PermanentError as error:
        raise AuthorityAnswerError(f"{authority.url}: {error}") from error
    if found.nonce != query.nonce:
        raise AuthorityAnswerError(
            f"{authority.url}: expected the nonce {query.nonce}, got {found.nonce}: it is the "
            "answer to another question"
        )
    if authority.trusted and found.trusted_by is None:
        raise AuthorityAnswerError(
            f"{authority.url}: expected a time-stamp of {_names(authority)}, got one of "
            f"{found.authority}: {found.why_untrusted}; correct anchors.tsa_certificates"
        )
    return response, found


async def _post(authority: Authority, query: bytes) -> bytes:
    """The body of the answer."""
    timeout = aiohttp.ClientTimeout(total=authority.timeout_s)
    headers = {"Content-Type": QUERY_TYPE, "Accept": REPLY_TYPE}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            # A redirected POST would become a GET, and might lead anywhere.
            session.post(
                authority.url, data=query, headers=headers, allow_redirects=False
            ) as response,
        ):
            _check_head(authority, response)
            return await _bounded(authority, response)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise AuthorityAwayError(
            f"{authority.url}: expected an answer of the time-stamp authority in "
            f"{authority.timeout_s:g} s, got {error!r}; check anchors.tsa_url and the network"
        ) from error


def _check_head(authority: Authority, response: aiohttp.ClientResponse) -> None:
    if response.status == 429 or response.status >= 500:
        raise AuthorityAwayError(f"{authority.url}: it answers with status {response.status}")
    if response.status != 200:
        where = response.headers.get("Location")
        hint = f"; set anchors.tsa_url to {where[:200]}" if where else ""
        raise AuthorityAnswerError(
            f"{authority.url}: expected status 200, got {response.status}{hint}"
        )
    if response.content_type != REPLY_TYPE:
        raise AuthorityAnswerError(
            f"{authority.url}: expected content type {REPLY_TYPE}, got "
            f"{response.content_type[:100]}; check anchors.tsa_url"
        )


async def _bounded(authority: Authority, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        body += piece
        if len(body) > MAX_TIMESTAMP_SIZE:
            raise AuthorityAnswerError(
                f"{authority.url}: expected at most {MAX_TIMESTAMP_SIZE} bytes, got more"
            )
    return bytes(body)


def _names(authority: Authority) -> str:
    return " or ".join(trusted.name for trusted in authority.trusted)
