"""The client of a time-stamp authority, against `openssl ts` behind HTTP."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiohttp import web
from rfc3161_client._rust import parse_timestamp_request
from time_stamp_authority import Tsa, reply

from recorder_worker.bus.disposition import Disposition, RetryLimits, Verdict
from recorder_worker.core.receipts.timestamp import verify_timestamp
from recorder_worker.integrations.tsa_client import (
    Authority,
    AuthorityAnswerError,
    AuthorityAwayError,
    time_stamp,
)
from recorder_worker.service.observing.metrics import Metrics

MESSAGE = b"lab7/log\n3\nAAAA\n"


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


async def test_a_time_stamp_is_asked_for_and_verified(tsa: Tsa) -> None:
    async with tsa.served() as served:
        where = Authority(url=served.url, timeout_s=30.0, trusted=[tsa.trusted()])
        receipt, found = await time_stamp(where, MESSAGE)
    assert found.trusted_by == "lab"
    assert verify_timestamp(receipt, MESSAGE).serial == found.serial
    assert served.content_types == ["application/timestamp-query"]
    query = parse_timestamp_request(served.queries[0])
    assert query.cert_req
    assert query.nonce == found.nonce


async def test_without_a_named_authority_any_will_do(tsa: Tsa) -> None:
    async with tsa.served() as served:
        _, found = await time_stamp(Authority(url=served.url, timeout_s=30.0), MESSAGE)
    assert found.trusted_by is None


async def test_another_than_the_named_one_will_not(tsa: Tsa, tmp_path: Path) -> None:
    named = Tsa(tmp_path, name="named").trusted("named")
    async with tsa.served() as served:
        where = Authority(url=served.url, timeout_s=30.0, trusted=[named])
        with pytest.raises(AuthorityAnswerError, match=r"expected a time-stamp of named"):
            await time_stamp(where, MESSAGE)


async def test_an_old_answer_is_not_taken(tsa: Tsa) -> None:
    old = tsa.stamp(MESSAGE)
    async with tsa.served(lambda _query: reply(old)) as served:
        with pytest.raises(AuthorityAnswerError, match=r"expected the nonce"):
            await time_stamp(Authority(url=served.url, timeout_s=30.0), MESSAGE)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (web.Response(status=404), "expected status 200, got 404"),
        (web.Response(status=302, headers={"Location": "https://there"}), "https://there"),
        (web.Response(body=b"<html>", content_type="text/html"), "got text/html"),
        (reply(b"hello"), "expected"),
        (reply(b""), "expected"),
        (reply(bytes(100_000)), "at most"),
    ],
    ids=["404", "redirect", "html", "garbage", "nothing", "too much"],
)
async def test_what_is_no_time_stamp_is_an_error(tsa: Tsa, answer: web.Response, said: str) -> None:
    async with tsa.served(lambda _query: answer) as served:
        with pytest.raises(AuthorityAnswerError, match=said):
            await time_stamp(Authority(url=served.url, timeout_s=30.0), MESSAGE)


async def test_a_refusal_is_an_error(tmp_path: Path) -> None:
    async with Tsa(tmp_path, digests="sha512").served() as served:
        with pytest.raises(AuthorityAnswerError, match=r"got rejection"):
            await time_stamp(Authority(url=served.url, timeout_s=30.0), MESSAGE)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_one_that_cannot_now_is_asked_again(tsa: Tsa, status: int) -> None:
    async with tsa.served(lambda _query: web.Response(status=status)) as served:
        with pytest.raises(AuthorityAwayError, match=rf"status {status}"):
            await time_stamp(Authority(url=served.url, timeout_s=30.0), MESSAGE)


async def test_one_that_is_away_is_asked_again() -> None:
    with socket.socket() as kept:  # so that nobody else listens there
        kept.bind(("127.0.0.1", 0))
        where = Authority(url=f"http://127.0.0.1:{kept.getsockname()[1]}/", timeout_s=30.0)
        with pytest.raises(AuthorityAwayError, match=r"check anchors.tsa_url and the network"):
            await time_stamp(where, MESSAGE)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(AuthorityAwayError("away"), Verdict.LATER), (AuthorityAnswerError("no"), Verdict.LIMITED)],
    ids=["away", "answer"],
)
async def test_absence_is_waited_out_and_wrong_answers_are_not(
    error: Exception, verdict: Verdict
) -> None:
    disposition = Disposition(
        RetryLimits(backoff_s=[1.0], max_deliver=2), Metrics(version="0", node="here"), {}
    )
    assert disposition.verdict(error) is verdict


async def test_one_that_never_answers_is_away() -> None:
    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        where = Authority(url=f"http://127.0.0.1:{port}/", timeout_s=0.2)
        with pytest.raises(AuthorityAwayError, match=r"in 0.2 s"):
            await time_stamp(where, MESSAGE)
