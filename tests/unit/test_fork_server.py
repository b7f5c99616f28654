"""A real server, and workers that are asked for as Ray does: by a command line in a shell."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support import wait_for

from more_ray import fork_server

STARTS = """
import sys
from more_ray.fork_server import start
print(start({"MADE_BY": "the server"}), flush=True)
sys.stdin.read()
"""
WORKER = """
import json, os, sys
made_by = open("/proc/self/environ", "rb").read()
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "argv": sys.argv[1:], "folder": os.getcwd(),
    "environment": os.environ.get("OF_THE_WORKER"), "stale": "MADE_BY" in os.environ,
    "started with": b"MADE_BY=the server" in made_by, "torch": "torch" in sys.modules,
    "ray": "ray" in sys.modules, "main": __name__, "path": os.getcwd() in sys.path,
}))
print("to stderr", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture
def driver() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has started a server, and what runs workers by it."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    (tmp_path / "worker.py").write_text(WORKER)
    return tmp_path / "worker.py"


def run(command: str, worker: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"exec {command} {worker} --one 'two words'"],
        cwd=worker.parent,
        env={**os.environ, "OF_THE_WORKER": "yes"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_worker_is_a_fork_with_its_own_environment_and_streams(
    driver: tuple[subprocess.Popen[str], str], worker: Path
) -> None:
    process, command = driver
    ran = run(command, worker)
    assert ran.stderr == "to stderr\n"
    told = json.loads(ran.stdout)
    (server,) = psutil.Process(process.pid).children()
    assert told.pop("parent") == server.pid
    assert told.pop("pid") not in (server.pid, process.pid)
    assert told == {
        "argv": ["--one", "two words"],
        "folder": str(worker.parent),
        "environment": "yes",
        "stale": False,
        "started with": True,
        "torch": True,
        "ray": False,
        "main": "__main__",
        "path": False,
    }
    assert server.children() == []  # nothing is left of it


def test_who_hangs_up_does_not_end_the_server(
    driver: tuple[subprocess.Popen[str], str], worker: Path
) -> None:
    _, command = driver
    for said in (b"", b"\0", (100).to_bytes(4, "big") + b"{"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(command.split()[-1])
            connection.sendall(said)
    assert json.loads(run(command, worker).stdout)["torch"] is True


def test_without_a_server_it_runs_by_itself(worker: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -S -E {fork_server.__file__} {tmp_path / 'nowhere'}"
    ran = run(command, worker)
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["torch"] is False


def test_the_server_ends_with_who_started_it(driver: tuple[subprocess.Popen[str], str]) -> None:
    process, command = driver
    (server,) = psutil.Process(process.pid).children()
    folder = Path(command.split()[-1]).parent
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not server.is_running(), 20, "end of the server")
    assert not folder.exists()
