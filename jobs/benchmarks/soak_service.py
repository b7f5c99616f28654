"""The two ways to serve that the soak tries: the product's own, and `serve deploy` on a cluster."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml
from soak_watch import wait_until

from more_ray.config.serve import ServeConfig
from more_ray.errors import UserError

NAME = "reward"
START = 300.0
"""Seconds that a cluster or a deployment may take to start."""
CPUS = 6
"""That the cluster declares: two replicas, and two more while a model is replaced."""


def ask_for_tokens(folder: Path) -> str:
    """Make the tokens of Ray and of the service, for this process and its children; returns the
    service's."""
    from more_ray.serve.guard import TOKEN_VARIABLE

    file = folder / "token"
    file.touch(0o600)
    file.write_text(secrets.token_hex(32))
    os.environ.pop("RAY_ADDRESS", None)
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(file),
        TOKEN_VARIABLE: secrets.token_hex(16),
    }
    return os.environ[TOKEN_VARIABLE]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def running() -> int:
    """Replicas of the service that can answer."""
    from ray import serve

    application = serve.status().applications[NAME]
    return sum(one.replica_states.get("RUNNING", 0) for one in application.deployments.values())


def negated(model: str, folder: Path) -> str:
    """A copy of a reward model whose scores are the negative ones."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    for file in folder.glob("*.safetensors"):
        weights = load_file(file)
        if "score.weight" in weights:
            weights["score.weight"] = -weights["score.weight"]
            save_file(weights, file, {"format": "pt"})
            return str(folder)
    raise UserError(f"model.path: {model} has no score.weight; a run's model folder is allowed")


class Deployed:
    """A cluster started by `ray start`, on which `serve deploy` serves what a file says."""

    def __init__(self, config: ServeConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._port, self._dashboard, self._client, self._agent = free_ports(4)

    def deploy(self, model: str) -> float:
        """Serve a model in place of the one before; returns the seconds until it alone answers."""
        from ray import serve

        before = serve.status().applications.get(NAME)
        since = before.last_deployed_time_s if before else 0.0
        file = self._folder / "serve.yaml"
        file.write_text(yaml.safe_dump(self._file(model)))
        began = time.monotonic()
        subprocess.run(
            [tool("serve"), "deploy", str(file), "-a", f"http://127.0.0.1:{self._dashboard}"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def done() -> bool:
            now = serve.status().applications.get(NAME)
            return now is not None and now.last_deployed_time_s > since and now.status == "RUNNING"

        if not wait_until(done, START):
            raise UserError(f"the model was not deployed in {START:g} s: {serve.status()}")
        return time.monotonic() - began

    def _file(self, model: str) -> dict[str, Any]:
        args = self._config.model_dump(mode="json", exclude={"host", "port"})
        return {
            "proxy_location": "HeadOnly",
            "http_options": {
                "host": "127.0.0.1",
                "port": self._config.port,
                "request_timeout_s": self._config.timeout,
            },
            "applications": [
                {
                    "name": NAME,
                    "route_prefix": "/",
                    "import_path": "more_ray.serve.app:build_app",
                    "args": {**args, "model": {**args["model"], "path": model}},
                }
            ],
        }

    @contextmanager
    def cluster(self) -> Iterator[None]:
        """The cluster, and this process as one of its drivers."""
        import ray

        from more_ray.cluster import session

        command = [
            *(tool("ray"), "start", "--head", "--block", f"--num-cpus={CPUS}"),
            *(f"--port={self._port}", f"--dashboard-port={self._dashboard}"),
            *(f"--ray-client-server-port={self._client}", "--disable-usage-stats"),
            *(f"--dashboard-agent-listen-port={self._agent}", f"--temp-dir={self._folder}"),
        ]
        with (self._folder / "ray.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for port in (self._port, self._dashboard):
                wait_until(lambda port=port: listens(port), START)
            os.environ["RAY_ADDRESS"] = f"127.0.0.1:{self._port}"
            with session(2, verbose=False):
                yield
        finally:
            ray.shutdown()
            os.environ.pop("RAY_ADDRESS", None)
            # Told to end, Ray would first drain the node for half a minute.
            started = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for child in started:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.wait()


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
