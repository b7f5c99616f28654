"""Ray's autoscaler on this machine, by the commands of cluster/README.md: 0 -> 2 -> 0 workers."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
from own_cluster import Cluster, cluster
from support import REPOSITORY, wait_for

pytestmark = pytest.mark.integration
SETTINGS = (
    "compare=[] data.simulator.sources=3 data.simulator.pairs=96 data.simulator.test_pairs=60 "
    "train.pairs_per_source=8 train.epochs=1 train.threads=1"
)


def commands() -> list[str]:
    """The lines of the page's section on this, without continuation."""
    page = (REPOSITORY / "cluster" / "README.md").read_text()
    block = re.search(r"## Local\n.*?```bash\n(.*?)```", page, re.DOTALL)
    assert block
    return block[1].replace("\\\n", "").splitlines()


class Watch:
    """The number of worker nodes over time."""

    def __init__(self, one: Cluster) -> None:
        self._cluster, self._began, self._over = one, time.monotonic(), threading.Event()
        self.log: list[tuple[float, int, str]] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def note(self, event: str) -> None:
        self.log.append((time.monotonic() - self._began, self.now(), event))

    def now(self) -> int:
        return len(self._cluster.nodes()) - 1

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        seen = 0
        while not self._over.wait(0.5):
            if (number := self.now()) != seen:
                seen = number
                self.note("")


def test_from_none_to_two_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with cluster() as one:
        file = one.folder / "local-autoscaling.yaml"
        text = (REPOSITORY / "cluster" / file.name).read_text()
        # As the file says for another port.
        assert "# gcs_address: HEAD:PORT, where" in text
        file.write_text(text.replace("# gcs_address: HEAD:PORT,", f"gcs_address: {one.address} #"))
        head = "\n".join(commands()[:3])
        head = head.replace("cluster/local-autoscaling.yaml", str(file))
        options = " ".join(one.head_options)
        one.start("head", ["bash", "-c", f"{head} {options}"])
        wait_for(one.nodes, 60)
        watch = Watch(one)
        watch.note("the head is up")

        submit = commands()[4].replace("$PWD/outputs/local", str(tmp_path / "run"))
        job = subprocess.run(
            ["bash", "-c", f"{submit} {SETTINGS} data.prepared={tmp_path}/prepared"],
            cwd=REPOSITORY,
            env={**one.environment, "RAY_ADDRESS": one.dashboard},
            capture_output=True,
            text=True,
            timeout=300,
        )
        watch.note("the job has ended")
        assert job.returncode == 0, job.stdout + job.stderr
        wait_for(lambda: watch.now() == 0, 60)
        watch.note("the head is alone")
        watch.end()
        with capsys.disabled():
            for seconds, number, event in watch.log:
                print(f"\n{seconds:6.1f} s  workers: {number}  {event}", end="")
        numbers = [number for _, number, _ in watch.log]
        assert (numbers[0], max(numbers), numbers[-1]) == (0, 2, 0)
        assert (tmp_path / "run" / "model" / "model.safetensors").exists()
