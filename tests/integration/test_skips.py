"""A model that yields NaN for a character that only one source uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from more_ray.config import ModelConfig, RunConfig
from more_ray.data.simulated import Simulator
from more_ray.model.loading import load_tokenizer
from more_ray.train.run import RunError, run

pytestmark = pytest.mark.integration


def save_broken(folder: Path) -> int:
    """A small model whose embedding of `~` is NaN; returns the row."""
    tokenizer = load_tokenizer(ModelConfig(), 512)
    (row,) = tokenizer("~")["input_ids"]
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=2, vocab_size=len(tokenizer)))
    with torch.no_grad():
        model.get_input_embeddings().weight[row] = torch.nan
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return row


def save_sources(folder: Path, broken: int) -> None:
    """64 pairs of `clean` and of `dirty`, of which the first `broken` answers have a `~`."""
    folder.mkdir()
    for source, name in (("population_1", "clean"), ("population_2", "dirty")):
        for split, count in (("train", 64), ("test", 20)):
            lines = []
            for number, one in enumerate(Simulator(2).pairs(source, split, 0, count)):
                mark = "~" if (name, split) == ("dirty", "train") and number < broken else ""
                lines.append(
                    {
                        "prompt": list(one.prompt),
                        "chosen": one.chosen + mark,
                        "rejected": one.rejected,
                    }
                )
            path = folder / f"{name}.{split}.jsonl"
            path.write_text("\n".join(map(json.dumps, lines)))


@pytest.fixture
def broken_config(
    cluster: None, small_config: Callable[..., RunConfig], tmp_path: Path
) -> Callable[..., RunConfig]:
    def make(broken: int, **train: Any) -> RunConfig:
        save_broken(tmp_path / "base")
        save_sources(tmp_path / "data", broken)
        return small_config(
            tmp_path / "run",
            data={"root": str(tmp_path / "data")},
            model={"path": str(tmp_path / "base")},
            train={"workers": 2, **train},
        )

    return make


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def test_steps_that_are_not_finite_are_skipped(
    broken_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    run(broken_config(2, zero_stage=2))
    lines = metrics(tmp_path / "run")
    skipped = [line["step"] for line in lines if line["skipped"]]
    assert len(lines) == 8
    assert len(skipped) in (1, 2)
    for line in lines:
        broken = line["step"] in skipped
        assert (line["source_loss"]["dirty"] is None) == broken
        assert (line["loss"] is None) == broken
        assert line["source_loss"]["clean"] > 0
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name, weight in weights.items():
        assert (~torch.isfinite(weight)).any(dim=-1).sum() == (name == "model.embed_tokens.weight")


def test_a_run_that_only_skips_stops_and_is_not_tried_again(
    broken_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = broken_config(64, max_skipped=3)
    with pytest.raises(
        RunError,
        match=r"^training stopped: 3 optimizer steps in a row were skipped, the last at step 2, "
        r"because the loss or head gradient of dirty was not finite$",
    ):
        run(config)
    assert [line["step"] for line in metrics(tmp_path / "run")] == [0, 1, 2]
