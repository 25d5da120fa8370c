"""first_lock.py works, and the README shows it as it is."""

import inspect
from pathlib import Path

import pytest
from redis import Redis

from conftest import Operator
from first_lock import with_lock

README = Path(__file__).parents[2] / "README.md"


def test_readme_shows_this_function() -> None:
    assert inspect.getsource(with_lock) in README.read_text()


def test_lock_is_held_during_the_write_and_free_after_it(client: Redis, operator: Operator) -> None:
    fences = []

    def write(fence: int) -> None:
        assert operator.info()["holders"][0]["fence"] == fence
        fences.append(fence)

    for _ in range(2):
        with_lock(client, operator.key, write)
        assert operator.info() == {}
    assert fences[0] < fences[1]


def test_lock_is_free_after_a_write_that_failed(client: Redis, operator: Operator) -> None:
    def write(_: int) -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        with_lock(client, operator.key, write)
    assert operator.info() == {}
