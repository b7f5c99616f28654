"""The scores of exported reward models in other tools, beside ours.

python jobs/benchmarks/peers.py models=[outputs/a/model,outputs/b/model] pairs=pairs.jsonl

Each tool runs as its documentation says, in an environment of its own (`environments`), made
the first time: `rewardbench` pins an older transformers. The pairs are lists of messages with the
prompt in `chosen` and `rejected`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
from pydantic import Field
from record import Row, record

from more_ray.cli import load_config
from more_ray.config import ModelConfig, Section

# It imports pkg_resources, which newer setuptools have no more; torch is the one tested here.
REWARDBENCH = ("rewardbench==0.1.4", "transformers==4.51.0", "setuptools<80", "torch==2.13.0")


class PeersConfig(Section):
    models: list[str] = Field(min_length=1)
    """Exported reward models."""
    pairs: str
    """JSON lines with `chosen` and `rejected`, lists of messages."""
    environments: str = "~/.cache/more_ray/peers"
    """Folder of the tools' virtual environments."""


def main() -> None:
    config = load_config(PeersConfig, sys.argv[1:], __doc__)
    python = made(Path(config.environments).expanduser() / "rewardbench", REWARDBENCH)
    lines = Path(config.pairs).read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    rows: list[Row] = []
    for model in config.models:
        ours_N2 = our_scores(model, pairs)
        theirs_N2 = rewardbench_scores(python, model, config.pairs)
        rows.append(
            {
                "model": model,
                "tool": REWARDBENCH[0],
                "pairs": len(pairs),
                "largest difference": float(np.abs(ours_N2 - theirs_N2).max()),
                "spread of scores": float(ours_N2.std()),
                "same order": float(np.mean(order(ours_N2) == order(theirs_N2))),
            }
        )
    record("peers", config.model_dump(mode="json"), rows)


def made(folder: Path, packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment with these packages."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "made").touch()
    return python


def our_scores(model: str, pairs: list[Row]) -> np.ndarray:
    """`[N, 2]`, chosen and rejected, as the reward service scores them."""
    from more_ray.serve.config import ServeConfig
    from more_ray.serve.scorer import Scorer

    scorer = Scorer(ServeConfig(model=ModelConfig(path=model)))
    scores = []
    for pair in pairs:
        prompt = pair["chosen"][:-1]
        answers = [pair[side][-1]["content"] for side in ("chosen", "rejected")]
        scores += scorer.scores([scorer.answers(prompt, answers)])
    return np.array(scores)


def rewardbench_scores(python: Path, model: str, pairs: str) -> np.ndarray:
    """The same by `rewardbench`, in fp32."""
    folder = Path(model).resolve()
    command = [
        *(python, "-c", "from rewardbench.rewardbench import main; main()"),
        *("--model", folder.name, "--dataset", Path(pairs).resolve(), "--load_json"),
        *("--torch_dtype", "float32", "--not_quantized", "--batch_size", "4"),
        *("--output_dir", "rewardbench/"),
    ]
    subprocess.run(
        list(map(str, command)), check=True, stdout=subprocess.DEVNULL, cwd=folder.parent
    )
    file = folder.parent / "rewardbench" / f"{folder.name}_outputs.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return np.array([[row["scores_chosen"], row["scores_rejected"]] for row in rows])


def order(scores_N2: np.ndarray) -> np.ndarray:
    return scores_N2[:, 0] > scores_N2[:, 1]


if __name__ == "__main__":
    main()
