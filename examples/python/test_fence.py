"""fence.py shows what it says: with the check nothing is lost, without it an update is."""

from pathlib import Path

import pytest

from conftest import Operator
from fence import FENCED, UNFENCED, Scene, play


def test_stale_holder_is_refused(
    url: str, key: str, operator: Operator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    account = play(Scene(url, key, tmp_path / "account", FENCED))
    picture = capfd.readouterr().out
    assert account.balance == 150
    assert "110: refused, " in picture and f" < {account.fence}" in picture
    assert "it was not held any more" in picture


def test_without_the_fence_an_update_is_lost(
    url: str, key: str, operator: Operator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    account = play(Scene(url, key, tmp_path / "account", UNFENCED))
    picture = capfd.readouterr().out
    assert account.balance == 110
    assert picture.index("150: accepted") < picture.index("110: accepted")
