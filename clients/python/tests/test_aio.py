"""The client for asyncio, at a server and at the fake."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio

from redislock_client import ClientClosed, Deadlock, NotAcquired, NotHeld, aio
from servers import DEADLINE, Operator, Server


async def eventually(condition: object) -> None:
    """Waits until the coroutine function says yes, however slow the machine is."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while not await condition():  # type: ignore[operator]
        assert asyncio.get_running_loop().time() < end, "it did not come about"
        await asyncio.sleep(0.005)


async def waiters(locks: aio.Locks, key: str) -> int:
    info = await locks.info(key)
    return info.waiters if info else 0


def waiting(locks: aio.Locks, key: str, number: int) -> object:
    async def condition() -> bool:
        return await waiters(locks, key) == number

    return condition


async def test_body_holds_the_lock_and_gives_it_back(any_aio_locks: aio.Locks, key: str) -> None:
    locks = any_aio_locks
    async with locks.lock(key, lease=10, timeout=5) as hold:
        assert hold.held
        with pytest.raises(NotAcquired):
            await locks.lock(key, timeout=0).take()
        with pytest.raises(NotAcquired):
            await locks.lock(key, timeout=0.05).take()
        assert (await hold.check()).fence == hold.fence  # type: ignore[union-attr]
    assert await locks.info(key) is None
    lock = locks.lock(key)
    assert await lock.acquire() and await lock.locked()
    await lock.release()
    with pytest.raises(RuntimeError):
        await lock.release()


async def test_tasks_exclude_one_another(any_aio_locks: aio.Locks, key: str) -> None:
    inside, fences = [0], []
    lock = any_aio_locks.lock(key, timeout=DEADLINE)

    async def work() -> None:
        async with lock as hold:
            inside[0] += 1
            assert inside[0] == 1
            await asyncio.sleep(0)
            fences.append(hold.fence)
            inside[0] -= 1

    await asyncio.gather(*(work() for _ in range(50)))
    assert fences == sorted(fences) and len(set(fences)) == 50


async def test_loss_cancels_the_body(any_aio_locks: aio.Locks, key: str) -> None:
    told = asyncio.Event()

    async def on_lost(hold: aio.Hold) -> None:
        told.set()

    lock = any_aio_locks.lock(key, lease=0.3, renew=False, on_lost=on_lost)
    with pytest.raises(NotHeld):
        async with lock:
            await asyncio.sleep(DEADLINE)
    await asyncio.wait_for(told.wait(), DEADLINE)
    # The task goes on as if nothing had been.
    await asyncio.sleep(0)
    body_ended = False
    with pytest.raises(NotHeld):
        async with any_aio_locks.lock(key, lease=0.3, renew=False, cancel_on_loss=False) as hold:
            await asyncio.sleep(0.6)
            body_ended = not hold.held
    assert body_ended


async def test_cancellation_from_outside_stays_a_cancellation(
    any_aio_locks: aio.Locks, key: str
) -> None:
    async def body() -> None:
        async with any_aio_locks.lock(key):
            await asyncio.sleep(DEADLINE)

    task = asyncio.ensure_future(body())
    await eventually(any_aio_locks.lock(key).locked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await any_aio_locks.info(key) is None


async def test_cancelled_wait_leaves_the_queue(any_aio_locks: aio.Locks, key: str) -> None:
    async with any_aio_locks.lock(key):
        task = asyncio.ensure_future(any_aio_locks.lock(key).take())
        await eventually(waiting(any_aio_locks, key, 1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(waiting(any_aio_locks, key, 0))


async def test_all_kinds(any_aio_locks: aio.Locks, key: str) -> None:
    locks = any_aio_locks
    table = locks.rwlock(key, timeout=0)
    async with table.read(), table.read():
        with pytest.raises(NotAcquired):
            await table.write().take()
    async with table.write() as hold:
        await hold.downgrade()
        async with table.read():
            pass
    async with locks.semaphore(key, 3, weight=2):
        assert not await locks.semaphore(key, 3, weight=2).acquire(blocking=False)
    async with locks.multi([f"{key}:a", f"{key}:b"]) as both:
        assert len(both.fences) == 2
        found = [entry.key.decode() async for entry in locks.list(match=f"{key}:*")]
        assert sorted(found) == sorted(both.fences)
    async with locks.lock(key, session=True):
        pass

    @locks.lock(key)
    async def locked() -> bool:
        return await locks.lock(key).locked()

    assert await locked()

    @locks.once(f"{key}:once", 60)
    async def job() -> int:
        return 7

    assert [await job(), await job()] == [7, None]


async def test_deadlock_of_two_owners_is_found(any_aio_locks: aio.Locks, key: str) -> None:
    one, two = any_aio_locks.owner(), any_aio_locks.owner()
    async with two.lock(f"{key}:b"), one.lock(f"{key}:a"):
        task = asyncio.ensure_future(one.lock(f"{key}:b").take())
        await eventually(waiting(any_aio_locks, f"{key}:b", 1))
        with pytest.raises(Deadlock):
            await two.lock(f"{key}:a").take()
    await (await task).release()


async def test_leader(any_aio_locks: aio.Locks, key: str) -> None:
    leader = any_aio_locks.leader(key, session=False)
    observation = leader.observe()
    assert await asyncio.wait_for(observation.__anext__(), DEADLINE) is None
    async with await leader.elect() as hold:
        assert await asyncio.wait_for(observation.__anext__(), DEADLINE) == hold.owner
        assert await leader.current() == hold.owner == await observation.leader()
    assert await asyncio.wait_for(observation.__anext__(), DEADLINE) is None
    observation.close()


async def test_closing_ends_holds_and_waits(any_aio_locks: aio.Locks, key: str) -> None:
    hold = await any_aio_locks.lock(key).take()
    task = asyncio.ensure_future(any_aio_locks.lock(key).take())
    await eventually(waiting(any_aio_locks, key, 1))
    await any_aio_locks.close()
    with pytest.raises(ClientClosed):
        await task
    assert not hold.held


@pytest.mark.slow
async def test_one_loop_renews_thousands(server: Server, aio_locks: aio.Locks, key: str) -> None:
    """Two connections for all of them."""
    names = [f"{key}:{n}" for n in range(2000)]
    holds = await asyncio.gather(*(aio_locks.lock(name, lease=6).take() for name in names))
    tasks = len(asyncio.all_tasks())
    await asyncio.sleep(8)
    assert all(hold.held for hold in holds)
    assert tasks < 10 and aio_locks.connections_opened <= 3
    await asyncio.gather(*(hold.release() for hold in holds))


def test_another_event_loop(server: Server, key: str) -> None:
    client = redis.asyncio.Redis.from_url(server.url)
    locks = aio.Locks(client)

    async def use() -> None:
        async with locks.lock(key, timeout=5):
            pass

    asyncio.run(use())
    asyncio.run(use())
    operator = Operator(server)
    assert operator.is_free(key)
