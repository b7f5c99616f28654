"""The wheel holds all that the package needs, wherever it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from support import REPOSITORY, without_cluster

pytestmark = pytest.mark.integration
SMALL = (
    *("compare=[]", "data.simulator.pairs=48", "data.simulator.test_pairs=40"),
    *("train.max_steps=2", "train.pairs_per_source=8", "train.threads=1"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the sdist, as `make wheel` does."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    assert len(list(folder.iterdir())) == 2
    return wheel


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "more_ray"]
    files = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    expected = {name for name in files.stdout.splitlines() if (REPOSITORY / name).exists()}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected


def test_the_demo_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    """In an environment that has this one's dependencies, but not its more_ray."""
    venv.create(tmp_path / "venv")
    python, program = (tmp_path / "venv" / "bin" / name for name in ("python", "more-ray"))
    install = ["-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel]
    subprocess.run([sys.executable, *install], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = without_cluster(HOME=str(tmp_path))
    environment.pop("PYTHONPATH", None)

    code = "import more_ray; print(more_ray.__file__)"
    place = subprocess.check_output([python, "-c", code], cwd=folder, env=environment, text=True)
    assert Path(place).is_relative_to(packages)
    subprocess.run([program, "demo", *SMALL], cwd=folder, env=environment, check=True)
    assert os.listdir(folder) == ["outputs"]
    assert (folder / "outputs" / "quickstart" / "report.html").exists()
