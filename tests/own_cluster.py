"""Ray clusters of a test's own, started as the documentation says, beside the one tests share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from support import REPOSITORY, free_ports, wait_for


class Cluster:
    """A head and nodes on this machine that ask for a token; all of it lies in `folder`.

    Each is started in a session of its own of the operating system, by which its processes are
    found again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.dashboard_port, *self._other_ports = free_ports(4)
        self.address = f"127.0.0.1:{self.port}"
        self.dashboard = f"http://127.0.0.1:{self.dashboard_port}"
        self.token = "b" * 64
        (folder / "token").write_text(self.token)
        (folder / "home").mkdir()
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.environment.pop("PYTHONPATH", None)
        self._sessions: dict[str, int] = {}

    @property
    def head_options(self) -> list[str]:
        """What keeps a head apart from other Rays on the machine."""
        client, agent = self._other_ports
        return [
            f"--port={self.port}",
            f"--dashboard-port={self.dashboard_port}",
            f"--ray-client-server-port={client}",
            f"--dashboard-agent-listen-port={agent}",
            f"--temp-dir={self.folder}",
        ]

    def start_head(self, cpus: int) -> None:
        options = ["--head", "--node-name=head", f"--num-cpus={cpus}", *self.head_options]
        self.start("head", ["ray", "start", *options])
        wait_for(self.nodes, 60)

    def start_node(self, name: str, cpus: int) -> None:
        (agent,) = free_ports(1)
        options = [
            f"--address={self.address}",
            f"--node-name={name}",
            f"--num-cpus={cpus}",
            f"--dashboard-agent-listen-port={agent}",
        ]
        self.start(name, ["ray", "start", *options])
        wait_for(lambda: name in self.nodes().values(), 60)

    def start(self, name: str, command: list[str], **environment: str) -> None:
        """Run a command that leaves processes of the node `name` behind."""
        # Ray's helpers look for a cluster by themselves: with two on a machine they must be told.
        told = {**self.environment, "RAY_ADDRESS": self.address, **environment}
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command, env=told, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
            )
            self._sessions[name] = process.pid
            if process.wait(120):
                raise RuntimeError((self.folder / f"{name}.log").read_text())

    def kill(self, name: str) -> None:
        """SIGKILL to every process of a node."""
        processes = family(self._sessions.pop(name))
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=20)

    def stop(self) -> None:
        for name in reversed(list(self._sessions)):
            self.kill(name)

    def ask(self, path: str) -> Any:
        """What the dashboard answers."""
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.dashboard}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    def nodes(self) -> dict[str, str]:
        """The names of the nodes that are alive, by their id."""
        try:
            found = self.ask("/api/v0/nodes?limit=1000")["data"]["result"]["result"]
        except OSError:  # not up yet
            return {}
        return {one["node_id"]: one["node_name"] for one in found if one["state"] == "ALIVE"}

    def actors(self, class_name: str) -> list[dict[str, Any]]:
        """The actors of a class, dead ones as well."""
        found = self.ask("/api/v0/actors?limit=1000&detail=1")["data"]["result"]["result"]
        return [one for one in found if one["class_name"] == class_name]

    def training_workers(self) -> list[psutil.Process]:
        """Those that are alive, on all nodes."""
        found = self.actors("RayTrainWorker")
        return [psutil.Process(one["pid"]) for one in found if one["state"] == "ALIVE"]


@contextmanager
def halted(processes: list[psutil.Process]) -> Iterator[None]:
    """They stand still meanwhile: a run is not over before something else has happened."""
    try:
        for process in processes:
            process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster without a node yet, whose processes and files are gone afterwards."""
    with ExitStack() as after:
        # Sockets lie below it, and their paths must be short.
        folder = Path(tempfile.mkdtemp(prefix="mr-", dir="/tmp"))
        after.callback(shutil.rmtree, folder, ignore_errors=True)
        one = Cluster(folder)
        after.callback(one.stop)
        yield one


def family(session: int) -> list[psutil.Process]:
    """The processes of a session of the operating system, and all that they started."""
    members = [process for process in psutil.process_iter() if session_of(process) == session]
    children = [child for one in members for child in one.children(recursive=True)]
    return list({*members, *children})


def session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None
