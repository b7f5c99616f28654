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
import tempfile
import venv
from pathlib import Path

import numpy as np
from pydantic import Field
from record import Row, record

from more_ray.cli import load_config
from more_ray.config import ModelConfig, Section

# It imports pkg_resources, which newer setuptools have no more; torch is the one tested here.
REWARDBENCH = ("rewardbench==0.1.4", "transformers==4.51.0", "setuptools<80", "torch==2.13.0")


WITHOUT_GPU = """
import torch
from rewardbench.rewardbench import main
from transformers import BatchEncoding

to = BatchEncoding.to
device = "cuda" if torch.cuda.is_available() else "cpu"
BatchEncoding.to = lambda encoding, _: to(encoding, device)
main()
"""
"""RewardBench puts its inputs on a GPU, whatever there is."""


class PeersConfig(Section):
    models: list[str] = Field(min_length=1)
    """Exported reward models."""
    pairs: str
    """JSON lines with `chosen` and `rejected`, lists of messages."""
    environments: str = "~/.cache/more_ray/peers"
    """Folder of the tools' virtual environments."""


def main() -> None:
    config = load_config(PeersConfig, sys.argv[1:], __doc__)
    python = made(Path(config.environments).expanduser().absolute() / "rewardbench", REWARDBENCH)
    lines = Path(config.pairs).read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    rows: list[Row] = []
    for model in config.models:
        ours_N2, whole_N = our_scores(model, pairs)
        theirs_N2 = rewardbench_scores(python, model, config.pairs)
        ours_N2, theirs_N2 = ours_N2[whole_N], theirs_N2[whole_N]
        rows.append(
            {
                "model": Path(model).parent.name,
                "tool": REWARDBENCH[0],
                "pairs": len(ours_N2),
                "largest difference": float(np.abs(ours_N2 - theirs_N2).max()),
                "spread of scores": float(ours_N2.std()),
                "same order": float(np.mean(order(ours_N2) == order(theirs_N2))),
            }
        )
    rows.append(older_transformers(python))
    record("peers", {"packages": REWARDBENCH}, rows)


def made(folder: Path, packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment with these packages."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "made").touch()
    return python


def our_scores(model: str, pairs: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """`[N, 2]`, chosen and rejected, as the reward service scores them; which `[N]` are not cut.

    A tool that cuts texts by the tokenizer alone drops BOS, which we keep.
    """
    from more_ray.model.scorer import Scorer

    scorer = Scorer(ModelConfig(path=model))
    scores, whole = [], []
    for pair in pairs:
        prompt = pair["chosen"][:-1]
        answers = [pair[side][-1]["content"] for side in ("chosen", "rejected")]
        tokens = scorer.answers(prompt, answers)
        scores += scorer.scores([tokens])
        whole.append(max(map(len, tokens)) < scorer.max_length)
    return np.array(scores), np.array(whole)


def rewardbench_scores(python: Path, model: str, pairs: str) -> np.ndarray:
    """The same by `rewardbench`, in fp32."""
    folder = Path(model).resolve()
    command = [
        *(python, "-c", WITHOUT_GPU),
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


def older_transformers(python: Path) -> Row:
    """Small models of every architecture, exported and read by the transformers of `python`."""
    import torch
    from architectures import ARCHITECTURES, small_config
    from transformers import AutoModelForSequenceClassification

    from more_ray.model.export import export
    from more_ray.model.tokenizer import training_tokenizer

    tokenizer = training_tokenizer(ModelConfig(), 64)
    ours = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ARCHITECTURES:
            torch.manual_seed(0)
            model = AutoModelForSequenceClassification.from_config(small_config(name)).eval()
            model.config.pad_token_id = 0
            export(model, model.state_dict(), None, tokenizer, Path(folder) / name)
            with torch.no_grad():
                ours[name] = model(torch.tensor([TOKENS])).logits.item()
        command = [str(python), "-c", READ_ALL, folder, json.dumps(TOKENS)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    theirs = json.loads(said.splitlines()[-1])
    difference_A = np.array([theirs[name] - ours[name] for name in theirs])
    unread = sorted(ours.keys() - theirs.keys())
    return {
        "model": f"{len(theirs)} architectures; not read: {', '.join(unread)}",
        "tool": REWARDBENCH[1],
        "pairs": 0,
        "largest difference": float(np.abs(difference_A).max()),
        "spread of scores": float(np.std(list(ours.values()))),
        "same order": 1.0,
    }


TOKENS = list(range(5, 25))
READ_ALL = """
import json, sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

logits = {}
for folder in Path(sys.argv[1]).iterdir():
    try:
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        AutoTokenizer.from_pretrained(folder)
        with torch.no_grad():
            logits[folder.name] = model(torch.tensor([json.loads(sys.argv[2])])).logits.item()
    except Exception as error:
        print(folder.name, error, file=sys.stderr)
print(json.dumps(logits))
"""


def order(scores_N2: np.ndarray) -> np.ndarray:
    return scores_N2[:, 0] > scores_N2[:, 1]


if __name__ == "__main__":
    main()
