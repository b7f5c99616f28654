"""Scores by RewardBench's command, on a file of pairs."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from exchange import answer, question
from rewardbench.rewardbench import main
from transformers import BatchEncoding

asked = question()
folder = Path(asked["model"])
to = BatchEncoding.to
device = "cuda" if torch.cuda.is_available() else "cpu"
# RewardBench puts its inputs on a GPU, whatever there is.
BatchEncoding.to = lambda encoding, _: to(encoding, device)
with tempfile.TemporaryDirectory() as place:
    pairs = Path(place, "pairs.jsonl")
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in asked["pairs"]), encoding="utf-8")
    os.chdir(folder.parent)  # it names its output after the model's path
    ours = sys.argv
    sys.argv = [
        *("rewardbench", "--model", folder.name, "--dataset", str(pairs), "--load_json"),
        *("--torch_dtype", "float32", "--not_quantized", "--batch_size", "4"),
        *("--output_dir", f"{place}/"),
    ]
    main()
    sys.argv = ours
    lines = Path(place, f"{folder.name}_outputs.jsonl").read_text(encoding="utf-8").splitlines()
rows = [json.loads(line) for line in lines]
answer(
    "rewardbench",
    rewardbench=[row[side] for row in rows for side in ("scores_chosen", "scores_rejected")],
)
