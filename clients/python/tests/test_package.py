"""The wheel and the sdist: they are built, installed, used, and typed for their users."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow

PROGRAM = """
import redislock_client, redislock_client.aio, redislock_client.redis_py
from redislock_client.fake import FakeServer
assert "site-packages" in redislock_client.__file__, redislock_client.__file__
with FakeServer().locks() as locks, locks.lock("k") as hold:
    print("fence", hold.fence)
"""


def run(*command: object, **more: object) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_wheel_and_sdist(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, HERE.parent)
    [wheel], [sdist] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert "redislock_client/py.typed" in names and "redislock_client/aio.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with tarfile.open(sdist) as packed:
        inside = [name.split("/", 1)[1] for name in packed.getnames()]
    assert {"README.md", "LICENSE", "pyproject.toml"} <= set(inside)
    assert not [name for name in inside if name.startswith("tests/")]
    # Into a virtual environment of its own, with the redis-py that is here.
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    here = run(sys.executable, "-c", "import redis; print(redis.__path__[0])").strip()
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])").strip()
    Path(site, "redis").symlink_to(here)
    assert "fence" in run(python, "-c", PROGRAM, cwd=tmp_path)


def test_users_program_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    run(
        sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, "--config-file", "",
        HERE / "typed_sample.py", cwd=tmp_path,
    )  # fmt: skip
