"""The scores of exported reward models in other tools, beside ours.

python jobs/benchmarks/peers.py
python jobs/benchmarks/peers.py models=[outputs/a/model,outputs/b/model] pairs=pairs.jsonl

Each tool runs as its documentation says, by its script in `peers/`: in ours, in an environment
of its own (`environments`) where its packages exclude ours, or in a folder beside ours. Both are
made the first time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from peer_environments import HERE, PEERS, REWARDBENCH, interpreter
from pydantic import Field, field_validator
from record import Row, record

from more_ray.cli import load_config
from more_ray.config import ModelConfig, Section


class PeersConfig(Section):
    models: list[str] = Field([])
    """Exported reward models. Empty: a tiny one with random weights."""
    pairs: str | None = None
    """JSON lines with `chosen` and `rejected`, lists of messages. Unset: the simulator's."""
    peers: list[str] = Field(list(PEERS))
    """The tools."""
    older: bool = False
    """Also read small models of every architecture with the transformers of `rewardbench`."""
    environments: str = "~/.cache/more_ray/peers"
    """Folder of the tools' packages."""
    port: int = Field(8_766, ge=1, le=65_535)
    """Where our reward service listens for those that ask it."""

    @field_validator("peers")
    @classmethod
    def _known(cls, peers: list[str]) -> list[str]:
        if unknown := set(peers) - PEERS.keys():
            raise ValueError(f"{', '.join(sorted(unknown))} given, allowed: {', '.join(PEERS)}")
        return peers


def main() -> None:
    config = load_config(PeersConfig, sys.argv[1:], __doc__)
    places = Path(config.environments).expanduser().absolute()
    pairs = read_pairs(config.pairs)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in config.models or [tiny_model(Path(folder) / "tiny" / "model")]:
            asked, ours_T, whole_T = question(model, pairs)
            for name in config.peers:
                rows += compared(name, places, config.port, asked, ours_T, whole_T)
    if config.older:
        rows.append(older_transformers(interpreter("rewardbench_cli", places)[0]))
    packages = [package for name in config.peers for package in PEERS[name].packages]
    record("peers", {"packages": packages}, rows)


def compared(
    name: str,
    places: Path,
    port: int,
    asked: dict[str, Any],
    ours_T: np.ndarray,
    whole_T: np.ndarray,
) -> list[Row]:
    """A row for each way in which a tool was asked; one that says so where it gave no scores."""
    known = {"model": Path(asked["model"]).parent.name, "peer": name}
    try:
        with ExitStack() as stack:
            if PEERS[name].asks_our_service:
                asked = {**asked, "url": stack.enter_context(our_service(asked["model"], port))}
            answer = scores_of(name, places, asked)
    except subprocess.CalledProcessError as error:
        empty = {"texts": 0, "largest difference": None, "spread of scores": None}
        return [
            {**known, "version": f"failed: exit status {error.returncode}", "asked": "", **empty}
        ]
    rows = []
    for way, scores in answer["scores"].items():
        if not whole_T.any():
            raise SystemExit(f"{asked['model']}: every text is longer than the model takes")
        difference_T = np.abs(np.array(scores) - ours_T)[whole_T]
        rows.append(
            {
                **known,
                "version": answer["version"],
                "asked": way,
                "texts": len(difference_T),
                "largest difference": float(difference_T.max()),
                "spread of scores": float(ours_T[whole_T].std()),
            }
        )
    return rows


def read_pairs(path: str | None) -> list[Row]:
    if path:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    from more_ray.data.simulated import Simulator

    simulator = Simulator()
    made = chain.from_iterable(simulator.pairs(name, "test", 0, 8) for name in simulator.names())
    return [
        {
            side: [*pair.prompt, {"role": "assistant", "content": getattr(pair, side)}]
            for side in ("chosen", "rejected")
        }
        for pair in made
    ]


def tiny_model(folder: Path) -> str:
    """A small LLaMA with random weights, exported as training does."""
    import torch

    from more_ray.model.export import export
    from more_ray.model.loading import load_classifier
    from more_ray.model.tokenizer import training_tokenizer

    config = ModelConfig()
    tokenizer = training_tokenizer(config, 512)
    classifier = load_classifier(config, tokenizer, torch.float32, seed=0)
    torch.nn.init.normal_(classifier.score.weight, std=0.2)
    export(classifier, dict(classifier.named_parameters()), None, tokenizer, folder)
    return str(folder)


def question(model: str, pairs: list[Row]) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """What the tools get; our scores `[T]` of its texts; which texts `[T]` are not cut.

    A tool that cuts texts by the tokenizer alone drops BOS, which we keep.
    """
    from transformers import AutoTokenizer

    from more_ray.data.formatting import render, render_prompt
    from more_ray.model.scorer import Scorer

    scorer, tokenizer = Scorer(ModelConfig(path=model)), AutoTokenizer.from_pretrained(model)
    texts, prompts, scores, whole = [], [], [], []
    for turns in (pair[side] for pair in pairs for side in ("chosen", "rejected")):
        prompt, answer = turns[:-1], turns[-1]["content"]
        texts.append(render(tokenizer, prompt, answer))
        prompts.append(render_prompt(tokenizer, prompt))
        tokens = scorer.answers(prompt, [answer])
        scores += scorer.scores([tokens])[0]
        whole.append(len(tokens[0]) < scorer.max_length)
    asked = {"model": str(Path(model).absolute()), "pairs": pairs, "texts": texts}
    return {**asked, "prompts": prompts}, np.array(scores), np.array(whole)


def scores_of(name: str, places: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What the script of a tool answers: its `version` and `scores`."""
    python, environment = interpreter(name, places)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "question.json"), Path(folder, "answer.json")
        files[0].write_text(json.dumps(asked), encoding="utf-8")
        subprocess.run([python, HERE / "peers" / f"{name}.py", *files], check=True, env=environment)
        return json.loads(files[1].read_text(encoding="utf-8"))


@contextmanager
def our_service(model: str, port: int) -> Iterator[str]:
    """The address of our reward service while the `with` block runs."""
    command = [sys.executable, HERE.parent / "serve_reward.py", f"model.path={model}"]
    service = subprocess.Popen([*command, f"port={port}"])
    url = f"http://127.0.0.1:{port}"
    try:
        while not answers(f"{url}/healthz"):
            if (status := service.poll()) is not None:
                raise subprocess.CalledProcessError(status, command)
            time.sleep(1)
        yield url
    finally:
        service.terminate()
        service.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


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
        command = [python, HERE / "peers" / "read_folders.py", folder, json.dumps(TOKENS)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    theirs = json.loads(said.splitlines()[-1])
    unread = sorted(ours.keys() - theirs.keys())
    return {
        "model": f"{len(theirs)} architectures; not read: {', '.join(unread)}",
        "peer": "read_folders",
        "version": REWARDBENCH[1].replace("==", " "),
        "asked": "AutoModelForSequenceClassification",
        "texts": len(theirs),
        "largest difference": max(abs(theirs[name] - ours[name]) for name in theirs),
        "spread of scores": float(np.std(list(ours.values()))),
    }


TOKENS = list(range(5, 25))


if __name__ == "__main__":
    main()
