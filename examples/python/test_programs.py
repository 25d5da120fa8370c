"""cron.py and worker.py do what they say."""

import asyncio

from conftest import Operator
from cron import run
from worker import work


def test_job_runs_once_per_period(url: str, key: str, operator: Operator) -> None:
    assert [run(url, key, 60) for _ in range(3)] == [True, False, False]
    assert operator.info()["mode"] == "cooling"
    operator.break_lock()
    assert run(url, key, 60)
    operator.break_lock()


def test_workers_do_each_piece_at_most_one_at_a_time(url: str) -> None:
    done: list[str] = []

    async def all_of_them() -> None:
        await asyncio.gather(*(work(url, ["a", "b", "c"], done) for _ in range(3)))

    asyncio.run(all_of_them())
    assert {line.split()[0] for line in done} == {"a", "b", "c"}
    assert len({line.split()[1] for line in done}) == len(done)
