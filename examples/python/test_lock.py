"""lock.py keeps what it says. Threads and processes meet at one server."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from redis import Connection, Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from conftest import DEADLINE, PATIENT, Operator, until
from lock import Hold, NotAcquired, NotHeld, lock

WORKERS, ROUNDS = 6, 20


def count(url: str, key: str) -> list[int]:
    """Adds to a counter in two steps, which loses counts without a lock; tells the fences."""
    fences = []
    with Redis.from_url(url, **PATIENT) as client:
        for _ in range(ROUNDS):
            with lock(client, key, lease=60, wait=DEADLINE) as hold:
                counter: Any = client.get(f"{key}:counter")
                client.set(f"{key}:counter", int(counter or 0) + 1)
                fences.append(hold.fence)
    return fences


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    workers: Executor
    if request.param == "threads":
        workers = ThreadPoolExecutor(WORKERS)
    else:
        workers = ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn"))
    with workers:
        yield workers


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """For the one who waits."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


def enter(client: Redis, key: str, wait: float = DEADLINE, lease: float = 60) -> Hold:
    """Takes the lock and gives it back."""
    with lock(client, key, lease=lease, wait=wait) as hold:
        assert hold.held
    return hold


def test_one_at_a_time(url: str, key: str, operator: Operator, executor: Executor) -> None:
    runs = [executor.submit(count, url, key) for _ in range(WORKERS)]
    fences = [run.result() for run in runs]
    assert operator.client.getdel(f"{key}:counter") == str(WORKERS * ROUNDS)
    assert all(mine == sorted(mine) for mine in fences)
    assert len(set().union(*fences)) == WORKERS * ROUNDS


def test_only_the_owner_releases(client: Redis, key: str, operator: Operator) -> None:
    with lock(client, key, lease=60) as hold:
        assert not operator.release("somebody")
        with pytest.raises(NotAcquired), lock(client, key, lease=60):
            pytest.fail("two held it")
        assert operator.info()["holders"][0]["owner"] == hold.owner
    assert not operator.info()


def test_released_lock_goes_to_the_waiter(
    client: Redis, key: str, operator: Operator, thread: ThreadPoolExecutor
) -> None:
    with lock(client, key, lease=60) as first:
        waiter = thread.submit(enter, client, key)
        until(lambda: operator.waiters() == 1)
    assert waiter.result(DEADLINE).fence > first.fence


def test_wait_that_runs_out_leaves_no_waiter(client: Redis, key: str, operator: Operator) -> None:
    owner = operator.take()
    with pytest.raises(NotAcquired):
        enter(client, key, wait=0.05)
    assert operator.waiters() == 0
    assert operator.release(owner)


def test_wait_longer_than_the_socket_timeout_keeps_its_place(
    url: str, key: str, operator: Operator, thread: ThreadPoolExecutor
) -> None:
    owner = operator.take()
    with Redis.from_url(url, socket_timeout=1) as client:
        waiter = thread.submit(enter, client, key)
        until(lambda: operator.waited_ms() > 2000 or waiter.done())
        assert operator.release(owner)
        waiter.result(DEADLINE)


def test_wait_goes_on_after_a_lost_connection(
    url: str, key: str, operator: Operator, thread: ThreadPoolExecutor
) -> None:
    owner = operator.take()
    with Redis.from_url(url, retry=Retry(ConstantBackoff(0.01), 10)) as client:
        waiter = thread.submit(enter, client, key)
        until(lambda: len(operator.waiting()) == 1)
        [first] = operator.waiting()
        operator.disconnect(first)
        until(lambda: bool(operator.waiting() - {first}))
        assert operator.release(owner)
        waiter.result(DEADLINE)


def test_interrupted_wait_is_withdrawn(client: Redis, key: str, operator: Operator) -> None:
    owner = operator.take()
    main = threading.main_thread().ident
    assert main

    def press_ctrl_c() -> None:
        until(lambda: operator.waiters() == 1)
        signal.pthread_kill(main, signal.SIGINT)

    presser = threading.Thread(target=press_ctrl_c)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        enter(client, key)
    presser.join()
    assert operator.waiters() == 0
    assert operator.release(owner)


def test_grant_that_crosses_the_interruption_is_given_back(
    client: Redis, key: str, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes when the server has granted and the answer is not read yet."""

    def interrupted(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        until(lambda: operator.held_ms() >= 0)
        raise KeyboardInterrupt

    client.ping()
    monkeypatch.setattr(Connection, "read_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        enter(client, key)
    assert not operator.info()
    assert client.ping(), "the late answer went to the next command"


def test_body_that_fails_releases_and_keeps_its_error(
    client: Redis, key: str, operator: Operator
) -> None:
    with pytest.raises(ZeroDivisionError), lock(client, key, lease=60):
        raise ZeroDivisionError
    assert not operator.info()
    with pytest.raises(ZeroDivisionError), lock(client, key, lease=60):
        operator.break_lock()
        raise ZeroDivisionError


def test_extend_makes_the_lease_start_anew(client: Redis, key: str, operator: Operator) -> None:
    with lock(client, key, lease=60) as hold:
        client.execute_command("LOCK.EXTEND", key, hold.owner, "PX", 30_000)
        hold.extend()
        assert operator.ttl_ms() > 30_000


def test_renewed_hold_outlives_its_lease(client: Redis, key: str, operator: Operator) -> None:
    with lock(client, key, lease=3, renew=True) as hold:
        until(lambda: operator.held_ms() > 6500 or not operator.info())
        assert hold.held
        assert operator.info()["holders"][0]["fence"] == hold.fence


def test_renewal_ends_with_the_body(client: Redis, key: str, operator: Operator) -> None:
    before = set(threading.enumerate())
    with lock(client, key, lease=600, renew=True):
        [renewal] = set(threading.enumerate()) - before
    until(lambda: not renewal.is_alive())


def test_broken_lock_is_told_by_the_renewal(client: Redis, key: str, operator: Operator) -> None:
    with pytest.raises(NotHeld), lock(client, key, lease=3, renew=True) as hold:
        operator.break_lock()
        until(lambda: not hold.held)


def test_broken_lock_is_told_by_extend_and_at_the_end(
    client: Redis, key: str, operator: Operator
) -> None:
    with pytest.raises(NotHeld), lock(client, key, lease=60) as hold:
        operator.break_lock()
        with pytest.raises(NotHeld):
            hold.extend()
        assert not hold.held


def test_end_of_the_lease_is_told_by_the_clock(client: Redis, key: str, operator: Operator) -> None:
    with pytest.raises(NotHeld), lock(client, key, lease=0.2) as hold:
        until(lambda: not hold.held)
        until(lambda: not operator.info())


def test_lease_counts_from_the_grant_after_a_long_wait(
    client: Redis, key: str, operator: Operator, thread: ThreadPoolExecutor
) -> None:
    owner = operator.take()
    waiter = thread.submit(enter, client, key, lease=2)
    until(lambda: operator.waited_ms() > 2500)
    assert operator.release(owner)
    waiter.result(DEADLINE)
