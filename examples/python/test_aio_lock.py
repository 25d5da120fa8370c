"""aio_lock.py keeps what it says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from aio_lock import Hold, NotAcquired, NotHeld, lock
from conftest import DEADLINE, PATIENT, Operator

TASKS = 200


async def until(condition: Callable[[], bool]) -> None:
    """Waits for the condition, however slow the machine is."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


async def enter(client: Redis, key: str, wait: float = DEADLINE, lease: float = 60) -> Hold:
    """Takes the lock and gives it back."""
    async with lock(client, key, lease=lease, wait=wait) as hold:
        await asyncio.sleep(0)
    return hold


async def for_ever() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def client(url: str) -> AsyncIterator[Redis]:
    # A connection for each that waits, and some for those who are done with waiting.
    async with Redis.from_url(url, max_connections=TASKS + 10, **PATIENT) as client:
        yield client


async def test_one_at_a_time(client: Redis, key: str, operator: Operator) -> None:
    counter = 0
    fences = []

    async def count() -> None:
        """Adds to a counter in two steps, which loses counts without a lock."""
        nonlocal counter
        async with lock(client, key, lease=60, wait=DEADLINE) as hold:
            before = counter
            await client.ping()
            counter = before + 1
            fences.append(hold.fence)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(TASKS):
            tasks.create_task(count())
    assert counter == TASKS
    assert fences == sorted(set(fences))


async def test_only_the_owner_releases(client: Redis, key: str, operator: Operator) -> None:
    async with lock(client, key, lease=60) as hold:
        assert not operator.release("somebody")
        with pytest.raises(NotAcquired):
            await enter(client, key, wait=0)
        assert operator.info()["holders"][0]["owner"] == hold.owner
    assert not operator.info()


async def test_released_lock_goes_to_the_waiter(
    client: Redis, key: str, operator: Operator
) -> None:
    async with lock(client, key, lease=60) as first:
        waiter = asyncio.create_task(enter(client, key))
        await until(lambda: operator.waiters() == 1)
    assert (await waiter).fence > first.fence


async def test_wait_that_runs_out_leaves_no_waiter(
    client: Redis, key: str, operator: Operator
) -> None:
    owner = operator.take()
    with pytest.raises(NotAcquired):
        await enter(client, key, wait=0.05)
    assert operator.waiters() == 0
    assert operator.release(owner)


async def test_wait_longer_than_the_socket_timeout_keeps_its_place(
    url: str, key: str, operator: Operator
) -> None:
    owner = operator.take()
    async with Redis.from_url(url, socket_timeout=1) as client:
        waiter = asyncio.create_task(enter(client, key))
        await until(lambda: operator.waited_ms() > 2000 or waiter.done())
        assert operator.release(owner)
        await waiter


async def test_wait_goes_on_after_a_lost_connection(url: str, key: str, operator: Operator) -> None:
    owner = operator.take()
    async with Redis.from_url(url, retry=Retry(ConstantBackoff(0.01), 10)) as client:
        waiter = asyncio.create_task(enter(client, key))
        await until(lambda: len(operator.waiting()) == 1)
        [first] = operator.waiting()
        operator.disconnect(first)
        await until(lambda: bool(operator.waiting() - {first}))
        assert operator.release(owner)
        await waiter


async def test_cancelled_wait_is_withdrawn(client: Redis, key: str, operator: Operator) -> None:
    owner = operator.take()
    waiter = asyncio.create_task(enter(client, key))
    await until(lambda: operator.waiters() == 1)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert operator.waiters() == 0
    assert operator.release(owner)


async def test_timeout_around_a_wait_withdraws_it(
    client: Redis, key: str, operator: Operator
) -> None:
    owner = operator.take()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await enter(client, key)
    assert operator.waiters() == 0
    assert operator.release(owner)


async def test_grant_that_crosses_the_cancellation_is_given_back(
    client: Redis, key: str, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cancelled when the server has granted and the answer is not read yet."""

    async def unread(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        await for_ever()

    await client.ping()
    monkeypatch.setattr(Connection, "read_response", unread)
    waiter = asyncio.create_task(enter(client, key))
    await until(lambda: operator.held_ms() >= 0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert not operator.info()
    assert await client.ping(), "the late answer went to the next command"


async def test_cancellation_that_is_swallowed_while_sending_counts(
    client: Redis, key: str, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Connection.send_command

    async def swallowing(*args: Any, **options: Any) -> None:
        monkeypatch.undo()
        await send(*args, **options)
        with suppress(asyncio.CancelledError):
            waiter.cancel()
            await asyncio.sleep(0)

    await client.ping()
    monkeypatch.setattr(Connection, "send_command", swallowing)
    waiter = asyncio.create_task(enter(client, key))
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert not operator.info()


async def test_body_that_fails_releases_and_keeps_its_error(
    client: Redis, key: str, operator: Operator
) -> None:
    with pytest.raises(TimeoutError):
        async with lock(client, key, lease=60):
            raise TimeoutError
    assert not operator.info()
    with pytest.raises(ZeroDivisionError):
        async with lock(client, key, lease=60):
            operator.break_lock()
            raise ZeroDivisionError


async def test_cancelled_body_releases(client: Redis, key: str, operator: Operator) -> None:
    works = asyncio.Event()

    async def work() -> None:
        async with lock(client, key, lease=60, renew=True):
            works.set()
            await for_ever()

    holder = asyncio.create_task(work())
    await until(works.is_set)
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder
    assert not operator.info()


async def test_extend_makes_the_lease_start_anew(
    client: Redis, key: str, operator: Operator
) -> None:
    async with lock(client, key, lease=60) as hold:
        await client.execute_command("LOCK.EXTEND", key, hold.owner, "PX", 30_000)
        await hold.extend()
        assert operator.ttl_ms() > 30_000


async def test_renewed_hold_outlives_its_lease(client: Redis, key: str, operator: Operator) -> None:
    async with lock(client, key, lease=3, renew=True) as hold:
        await until(lambda: operator.held_ms() > 6500 or not operator.info())
        assert operator.info()["holders"][0]["fence"] == hold.fence


async def test_renewal_ends_with_the_body(client: Redis, key: str, operator: Operator) -> None:
    before = asyncio.all_tasks()
    async with lock(client, key, lease=600, renew=True):
        [renewal] = asyncio.all_tasks() - before
    await until(renewal.done)


async def test_broken_lock_cancels_the_renewed_body(
    client: Redis, key: str, operator: Operator
) -> None:
    with pytest.raises(NotHeld):
        async with lock(client, key, lease=3, renew=True):
            operator.break_lock()
            await for_ever()


async def test_refused_extension_cancels_the_body_at_once(
    client: Redis, key: str, operator: Operator
) -> None:
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(NotHeld):
            async with lock(client, key, lease=600) as hold:
                operator.break_lock()
                extension = asyncio.create_task(hold.extend())
                await for_ever()
    with pytest.raises(NotHeld):
        await extension


async def test_broken_lock_is_told_by_extend_and_at_the_end(
    client: Redis, key: str, operator: Operator
) -> None:
    with pytest.raises(NotHeld):
        async with lock(client, key, lease=60) as hold:
            operator.break_lock()
            await hold.extend()
    with pytest.raises(NotHeld):
        async with lock(client, key, lease=60):
            operator.break_lock()


async def test_end_of_the_lease_cancels_the_body(
    client: Redis, key: str, operator: Operator
) -> None:
    with pytest.raises(NotHeld):
        async with lock(client, key, lease=0.2):
            await for_ever()


async def test_lease_counts_from_the_grant_after_a_long_wait(
    client: Redis, key: str, operator: Operator
) -> None:
    owner = operator.take()
    waiter = asyncio.create_task(enter(client, key, lease=2))
    await until(lambda: operator.waited_ms() > 2500)
    assert operator.release(owner)
    await waiter
