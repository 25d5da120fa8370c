"""The client for threads, at a server and at the fake."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from redislock_client import (
    Cancellation,
    Cancelled,
    ClientClosed,
    Deadlock,
    Hold,
    Hooks,
    Locks,
    NotAcquired,
    NotHeld,
    ServerError,
)
from servers import DEADLINE, until


def test_body_holds_the_lock_and_gives_it_back(any_locks: Locks, key: str) -> None:
    with any_locks.lock(key, lease=10, timeout=5) as hold:
        assert hold.held and hold.key == key and 0 < hold.expires_in <= 10
        info = any_locks.info(key)
        assert info is not None
        [holder] = info.holders
        assert (holder.owner, holder.fence) == (hold.owner, hold.fence)
        assert holder.owner.startswith("tests/")
        with pytest.raises(NotAcquired):
            any_locks.lock(key, timeout=0).take()
        with pytest.raises(NotAcquired):
            any_locks.lock(key, timeout=0.05).take()
    assert any_locks.info(key) is None
    assert not hold.held and hold.expires_in == 0


def test_fences_rise(any_locks: Locks, key: str) -> None:
    lock = any_locks.lock(key)
    fences = []
    for _ in range(3):
        with lock as hold:
            fences.append(hold.fence)
    assert fences == sorted(set(fences))


def test_waiters_are_served_in_order(any_locks: Locks, key: str) -> None:
    order: list[int] = []

    def work(number: int) -> None:
        with any_locks.lock(key, timeout=DEADLINE):
            order.append(number)

    with ThreadPoolExecutor(5) as pool:
        with any_locks.lock(key):
            jobs = []
            for number in range(5):
                jobs.append(pool.submit(work, number))
                until(lambda n=number: _waiters(any_locks, key) == n + 1)
        for job in jobs:
            job.result()
    assert order == list(range(5))


def test_interface_of_threading_lock(any_locks: Locks, key: str) -> None:
    lock = any_locks.lock(key)
    assert lock.acquire() and lock.locked()
    assert lock.current is not None and lock.current.held
    other = any_locks.lock(key)
    assert not other.acquire(blocking=False)
    assert not other.acquire(timeout=0.05)
    with pytest.raises(RuntimeError):
        other.release()
    with ThreadPoolExecutor(1) as thread:
        # As with threading.Lock, another thread may release.
        thread.submit(lock.release).result()
    assert not lock.locked()
    with pytest.raises(ValueError):
        lock.acquire(blocking=False, timeout=3)


def test_decorator(any_locks: Locks, key: str) -> None:
    @any_locks.lock(key)
    def add(a: int, b: int) -> int:
        assert any_locks.lock(key).locked()
        return a + b

    assert add(1, b=2) == 3
    assert add.__name__ == "add"


def test_readers_share_and_the_writer_excludes(any_locks: Locks, key: str) -> None:
    table = any_locks.rwlock(key, timeout=0)
    with table.read() as one, table.read() as two:
        assert one.owner != two.owner
        with pytest.raises(NotAcquired):
            table.write().take()
    with table.write() as hold:
        with pytest.raises(NotAcquired):
            table.read().take()
        hold.downgrade()
        with table.read() as reader:
            assert hold.held and reader.fence > hold.fence


def test_semaphore_counts_units(any_locks: Locks, key: str) -> None:
    with any_locks.semaphore(key, 5, weight=3):
        with pytest.raises(NotAcquired):
            any_locks.semaphore(key, 5, weight=3, timeout=0).take()
        with any_locks.semaphore(key, 5, weight=2):
            assert not any_locks.semaphore(key, 5).acquire(blocking=False)


def test_several_locks_at_once(any_locks: Locks, key: str) -> None:
    keys = [f"{key}:a", f"{key}:b"]
    with any_locks.multi(keys, lease=0.6) as hold:
        assert list(hold.fences) == keys and hold.fence == max(hold.fences.values())
        assert not any_locks.lock(keys[1]).acquire(blocking=False)
        time.sleep(1.0)
        assert hold.held and hold.check()
    assert all(any_locks.info(each) is None for each in keys)
    for wrong in ([], ["a", "a"], [str(n) for n in range(65)]):
        with pytest.raises(ValueError):
            any_locks.multi(wrong)
    with pytest.raises(TypeError):
        any_locks.multi("one")


def test_deadlock_of_two_owners_is_found(any_locks: Locks, key: str) -> None:
    one, two = any_locks.owner(), any_locks.owner()
    with ThreadPoolExecutor(1) as pool, two.lock(f"{key}:b"), one.lock(f"{key}:a"):
        waiting = pool.submit(one.lock(f"{key}:b").take)
        until(lambda: _waiters(any_locks, f"{key}:b") == 1)
        with pytest.raises(Deadlock) as found:
            two.lock(f"{key}:a").take()
        steps = [tuple(name[:32] for name in step) for step in found.value.cycle]
        assert (two.id[:32], one.id[:32], f"{key}:a"[:32]) in steps
    waiting.result().release()


def test_owner_scope_is_reentrant(any_locks: Locks, key: str) -> None:
    work = any_locks.owner()
    with work.lock(key) as outer:
        with work.lock(key) as inner, work.rwlock(key).read():
            assert inner.fence == outer.fence and inner.owner == work.id
        assert outer.held and any_locks.lock(key).locked()
    assert not any_locks.lock(key).locked()


def test_once_per_period(any_locks: Locks, key: str) -> None:
    runs: list[int] = []

    @any_locks.once(key, 60)
    def job() -> int:
        runs.append(1)
        return 7

    assert (job(), job(), len(runs)) == (7, None, 1)
    info = any_locks.info(key)
    assert info is not None and info.mode == "cooling" and 50 < info.cooling <= 60


def test_once_may_be_tried_again_after_a_failure(any_locks: Locks, key: str) -> None:
    once = any_locks.once(key, 60)
    with pytest.raises(ZeroDivisionError), once.attempt():
        raise ZeroDivisionError
    with once.attempt() as hold:
        assert hold is not None


def test_renewed_hold_outlives_its_lease(any_locks: Locks, key: str) -> None:
    with any_locks.lock(key, lease=0.6) as hold:
        time.sleep(1.5)
        assert hold.held and hold.check() is not None
        hold.raise_if_lost()


def test_lease_that_is_not_renewed_ends(any_locks: Locks, key: str) -> None:
    lost = threading.Event()
    lock = any_locks.lock(key, lease=0.2, renew=False, on_lost=lambda hold: lost.set())
    hold = lock.take()
    assert lost.wait(DEADLINE)
    assert not hold.held and hold.lost_reason in ("expired", "gone")
    for attempt in (hold.release, hold.extend, hold.raise_if_lost):
        with pytest.raises(NotHeld):
            attempt()


def test_max_bounds_the_hold(any_locks: Locks, key: str) -> None:
    lost: list[Hold] = []
    hold = any_locks.lock(key, lease=0.3, max=0.8, on_lost=lost.append).take()
    until(lambda: lost)
    assert lost == [hold] and not hold.held
    until(lambda: any_locks.info(key) is None)


def test_session_hold(any_locks: Locks, key: str) -> None:
    with any_locks.lock(key, session=True):
        info = any_locks.info(key)
        assert info is not None and info.holders[0].session > 0
    assert any_locks.info(key) is None


def test_delay_and_cool(any_locks: Locks, key: str) -> None:
    hold = any_locks.lock(key, lease=0.1, renew=False, delay=0.5).take()
    until(lambda: not hold.held)
    until(lambda: any_locks.info(key) is None or any_locks.info(key).mode != "exclusive")  # type: ignore[union-attr]
    any_locks.lock(key, timeout=DEADLINE).take().release(cool=0.2)
    assert not any_locks.lock(key).acquire(blocking=False)
    any_locks.lock(key, timeout=DEADLINE).take().release()


def test_extend_and_check(any_locks: Locks, key: str) -> None:
    with any_locks.lock(key, lease=5, renew=False) as hold:
        hold.extend(60)
        assert hold.expires_in > 50
        found = hold.check()
        assert found is not None and found.expires_in > 50 and found.waiters == 0
        assert any_locks.check(key, hold.owner) is not None
        assert any_locks.check(key, "somebody") is None


def test_leader(any_locks: Locks, key: str) -> None:
    told: list[str | None] = []
    leader = any_locks.leader(key, session=False)
    with leader.observe(told.append) as observation:
        assert observation.leader is None
        with leader.elect() as hold, ThreadPoolExecutor(1) as pool:
            until(lambda: told[-1] == hold.owner)
            assert leader.current() == hold.owner
            successor = pool.submit(leader.elect)
            until(lambda: _waiters(any_locks, key) == 1)
            hold.release()
            second = successor.result()
            until(lambda: told[-1] == second.owner)
            second.release()
            until(lambda: told[-1] is None)
            hold._again = 1  # It was released already.


def test_list(any_locks: Locks, key: str) -> None:
    with any_locks.lock(f"{key}:x") as hold, any_locks.lock(f"{key}:y"):
        found = {entry.key.decode(): entry for entry in any_locks.list(match=f"{key}:*")}
        assert set(found) == {f"{key}:x", f"{key}:y"}
        assert found[f"{key}:x"].owner == hold.owner
        assert [e.key.decode() for e in any_locks.list(owner=hold.owner)] == [f"{key}:x"]


def test_cancellation_by_another_thread(any_locks: Locks, key: str) -> None:
    with any_locks.lock(key), ThreadPoolExecutor(1) as pool:
        cancel = Cancellation()
        waiting = pool.submit(lambda: any_locks.lock(key).take(cancel=cancel))
        until(lambda: _waiters(any_locks, key) == 1)
        cancel.cancel()
        with pytest.raises(Cancelled):
            waiting.result(DEADLINE)
        until(lambda: _waiters(any_locks, key) == 0)


def test_closing_ends_holds_and_waits(any_locks: Locks, key: str) -> None:
    hold = any_locks.lock(key).take()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(any_locks.lock(key).take)
        until(lambda: _waiters(any_locks, key) == 1)
        any_locks.close()
        with pytest.raises(ClientClosed):
            waiting.result(DEADLINE)
    assert not hold.held
    with pytest.raises(ClientClosed):
        any_locks.lock(key).take()


def test_hooks_are_told(any_locks: Locks, key: str) -> None:
    told: list[str] = []

    class Recorder(Hooks):
        def acquired(self, key: str, owner: str, waited: float) -> None:
            told.append("acquired")

        def refused(self, key: str, owner: str, waited: float) -> None:
            told.append("refused")

        def released(self, key: str, owner: str, held: float) -> None:
            told.append("released")
            raise ZeroDivisionError("a hook that fails does no harm")

    any_locks._engine.options.hooks = (Recorder(),)
    with any_locks.lock(key):
        any_locks.lock(key).acquire(blocking=False)
    assert told == ["acquired", "refused", "released"]


def test_bad_arguments(any_locks: Locks, key: str) -> None:
    for wrong in ({"lease": 0}, {"lease": 366 * 86400}, {"timeout": -5}, {"max": -1}):
        with pytest.raises(ValueError):
            any_locks.lock(key, **wrong)
    with pytest.raises(ValueError):
        any_locks.semaphore(key, 0)
    with pytest.raises(TypeError):
        any_locks.lock(5)  # type: ignore[arg-type]
    with any_locks.rwlock(key).read() as hold, pytest.raises(ServerError, match="release it first"):
        scope = any_locks.owner(hold.owner)
        scope.lock(key).take()


def _waiters(locks: Locks, key: str) -> int:
    info = locks.info(key)
    return info.waiters if info else 0
