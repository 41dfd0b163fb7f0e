"""What a worker remembers of sessions: bounded, and of the present connection only."""

from __future__ import annotations

import asyncio

from recorder_worker.stages.session_table import SessionTable


async def test_an_entry_is_kept_until_many_others_were_used_since() -> None:
    table = SessionTable[list[int]](list, most=2)
    for name in "abac":
        async with table.entry(name) as held:
            held.append(1)
    async with table.entry("a") as held:
        assert held == [1, 1]
    async with table.entry("b") as held:
        assert held == [], "the one longest unused went"


async def test_one_in_use_is_not_forgotten() -> None:
    table = SessionTable[list[int]](list, most=1)
    seen: list[list[int]] = []

    async def look() -> None:
        async with table.entry("a") as held:
            seen.append(list(held))

    async with table.entry("a") as held:
        held.append(1)
        async with table.entry("b"):
            pass
        waiting = asyncio.create_task(look())
        await asyncio.sleep(0)
    await waiting
    assert seen == [[1]]


async def test_what_was_learnt_over_an_earlier_connection_is_forgotten() -> None:
    number = 0
    table = SessionTable[list[int]](list, lambda: number)
    async with table.entry("a") as held:
        held.append(1)
        number += 1
        held.append(2)
    async with table.entry("a") as held:
        assert held == []


async def test_who_waited_while_the_connection_was_lost_gets_nothing_old() -> None:
    number = 0
    table = SessionTable[list[int]](list, lambda: number)
    seen: list[list[int]] = []

    async def look() -> None:
        async with table.entry("a") as held:
            seen.append(list(held))

    async with table.entry("a") as held:
        held.append(1)
        waiting = asyncio.create_task(look())
        await asyncio.sleep(0)
        number += 1
    await waiting
    assert seen == [[]]
