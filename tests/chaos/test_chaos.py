"""Chaos in short: a fixed seed, every kind of fault once or more, and nothing that must not be."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.plan import LEADER, Kind
from chaos.run import Options, Outcome, run_chaos
from chaos.table import show
from rich.console import Console

pytestmark = pytest.mark.timeout(600)


async def judged(options: Options, folder: Path) -> Outcome:
    outcome = await run_chaos(options, folder)
    show(outcome, Console(width=110))
    assert outcome.all_problems == []
    assert sum(bool(one.verdict) for one in outcome.judged) >= 4
    assert len(outcome.recoveries) == options.faults
    return outcome


async def test_nothing_acknowledged_is_lost_whatever_is_killed_stopped_or_cut_off(
    tmp_path: Path,
) -> None:
    options = Options(seed=20, faults=14, seconds=120, sessions=3, together=True)
    outcome = await judged(options, tmp_path / "chaos")
    kinds = {one.struck.fault.kind for one in outcome.recoveries}
    assert kinds >= set(Kind) - {Kind.CLOCK}


async def test_nothing_is_lost_on_a_cluster_whose_leader_is_killed_in_mid_recording(
    tmp_path: Path,
) -> None:
    options = Options(seed=36, faults=6, seconds=120, servers=3, sessions=5, together=True)
    outcome = await judged(options, tmp_path / "chaos")
    (killed,) = [
        one.struck.fault for one in outcome.recoveries if one.struck.fault.kind is Kind.SERVER_KILL
    ]
    assert killed.target == LEADER
