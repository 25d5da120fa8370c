"""Whatever ends an acquisition leaves nothing behind: C6, C8 and their like."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import redis.asyncio

from redislock_client import Cancellation, Cancelled, LockError, Locks, NotAcquired, aio
from servers import DEADLINE, Operator, Relay, Server, until


def nothing_left(operator: Operator, prefix: str) -> bool:
    return not [lock for lock in operator.locks() if lock["key"].startswith(prefix)]


async def settled(operator: Operator, prefix: str) -> None:
    end = time.monotonic() + DEADLINE
    while not await asyncio.to_thread(nothing_left, operator, prefix):
        assert time.monotonic() < end, operator.locks()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("delay", [0.0, 0.02])
async def test_a_thousand_random_cancellations(
    server: Server, operator: Operator, relay: Relay, key: str, delay: float
) -> None:
    """The leases last ten minutes, so whatever is left behind is seen."""
    chance = random.Random(7)
    relay.delay = delay
    client = redis.asyncio.Redis.from_url(relay.url)
    async with aio.Locks(client) as locks:

        async def work(number: int) -> None:
            async with locks.lock(f"{key}:{number % 7}", lease=600):
                await asyncio.sleep(chance.random() * 0.004)

        for _ in range(20):
            tasks = [asyncio.ensure_future(work(n)) for n in range(50)]
            for task in tasks:
                await asyncio.sleep(chance.random() * 0.002)
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), result
        await settled(operator, key)
    await getattr(client, "aclose", client.close)()


def test_cancellations_of_threads(
    server: Server, operator: Operator, relay: Relay, key: str
) -> None:
    relay.delay = 0.01
    chance = random.Random(8)
    with redis.Redis.from_url(relay.url) as client, Locks(client) as locks:

        def work(number: int) -> None:
            cancel = Cancellation()
            timer = threading.Timer(chance.random() * 0.2, cancel.cancel)
            timer.start()
            try:
                with locks.lock(f"{key}:{number % 3}", lease=600).take(cancel=cancel):
                    time.sleep(0.002)
            except Cancelled:
                pass

        with ThreadPoolExecutor(20) as pool:
            for job in [pool.submit(work, n) for n in range(200)]:
                job.result()
        until(lambda: nothing_left(operator, key))


async def test_cancelled_before_the_server_has_the_request(
    server: Server, operator: Operator, relay: Relay, key: str
) -> None:
    """The ACQUIRE is on its way when its RELEASE is sent: neither may overtake the other."""
    client = redis.asyncio.Redis.from_url(relay.url)
    async with aio.Locks(client) as locks:
        async with locks.lock(key):
            pass
        relay.held.clear()
        task = asyncio.ensure_future(locks.lock(key, lease=600).take())
        await asyncio.sleep(0.1)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.3)
        relay.held.set()
        await settled(operator, key)
    await getattr(client, "aclose", client.close)()


@pytest.mark.slow
async def test_cancellation_does_not_wait_for_a_server_that_hangs(
    own_server: Server, key: str
) -> None:
    """C8: in a wait, and in a body."""
    operator = Operator(own_server)
    operator.take(key)
    client = redis.asyncio.Redis.from_url(own_server.url)
    locks = aio.Locks(client)

    async def body() -> None:
        async with locks.lock("other", lease=600):
            await asyncio.sleep(DEADLINE)

    wait = asyncio.ensure_future(locks.lock(key, lease=600).take())
    inside = asyncio.ensure_future(body())
    await asyncio.to_thread(until, lambda: operator.waiters(key) == 1)
    await asyncio.to_thread(until, lambda: operator.holders("other"))
    own_server.stop()
    began = time.monotonic()
    for task in (wait, inside):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert time.monotonic() - began < 10
    await asyncio.sleep(1)
    own_server.go_on()
    assert await asyncio.to_thread(operator.release, key)
    await settled(operator, key)
    await settled(operator, "other")
    await locks.close()
    await getattr(client, "aclose", client.close)()
    operator.client.close()


def test_interrupted_wait_is_withdrawn(locks: Locks, operator: Operator, key: str) -> None:
    """Ctrl-C in the main thread."""
    operator.take(key)
    main = threading.main_thread().ident
    assert main

    def press() -> None:
        until(lambda: operator.waiters(key) == 1)
        signal.pthread_kill(main, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        locks.lock(key, lease=600).take()
    presser.join()
    until(lambda: operator.waiters(key) == 0)
    operator.release(key)


@pytest.mark.slow
def test_exception_of_a_signal_handler_at_random_moments(
    locks: Locks, operator: Operator, key: str
) -> None:
    """As Celery's soft time limit does it: an exception in the middle of anything.

    It can come when the hold has been returned and `with` has not begun yet. Nobody can release
    such a hold. So it is not renewed, and its lease ends it.
    """

    class SoftTimeLimit(Exception):
        pass

    def handler(*_: object) -> None:
        raise SoftTimeLimit

    chance = random.Random(9)
    before = signal.signal(signal.SIGALRM, handler)
    ended = 0
    try:
        for _ in range(300):
            signal.setitimer(signal.ITIMER_REAL, 0.0002 + chance.random() * 0.004)
            try:
                # Python swallows one that comes inside a finalizer, so this must end by itself.
                for _ in range(200):
                    with locks.lock(f"{key}:a", lease=3, timeout=5):
                        pass
            except (SoftTimeLimit, LockError):
                ended += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ended > 250
    until(lambda: nothing_left(operator, key))


def test_wait_that_runs_out_leaves_no_waiter(locks: Locks, operator: Operator, key: str) -> None:
    operator.take(key)
    with pytest.raises(NotAcquired):
        locks.lock(key, timeout=0.05).take()
    assert operator.waiters(key) == 0
    assert operator.release(key)


def test_lost_replies(server: Server, operator: Operator, relay: Relay, key: str) -> None:
    """The server grants, and the reply never comes: the retry finds the same hold."""
    with redis.Redis.from_url(relay.url) as client, Locks(client, tracking=False) as locks:
        with locks.lock("warm"):
            pass
        relay.drop_replies = True

        def repair() -> None:
            until(lambda: operator.holders(key))
            relay.drop_replies = False
            relay.cut()

        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(repair)
            hold = locks.lock(key, lease=600, timeout=DEADLINE).take()
            job.result()
        assert operator.holders(key) == [hold.owner]
        hold.release()
    until(lambda: operator.is_free(key))
