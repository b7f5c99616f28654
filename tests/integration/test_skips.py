"""A model that yields NaN for a character that only one source uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import MakeConfig, metrics, write_lines
from transformers import LlamaConfig, LlamaForCausalLM

from more_ray.config import ModelConfig, RunConfig
from more_ray.data.simulated import Simulator
from more_ray.errors import UserError
from more_ray.model.loading import load_tokenizer
from more_ray.train.run import run

pytestmark = pytest.mark.integration
MakeBroken = Callable[..., RunConfig]


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


def save_sources(folder: Path) -> None:
    """64 pairs of `clean`, of `dirty`, which has a `~` in two answers, and of `spoilt`, in all."""
    folder.mkdir()
    broken = {"clean": 0, "dirty": 2, "spoilt": 64}
    for number, name in enumerate(broken, 1):
        for split, count in (("train", 64), ("test", 20)):
            lines = []
            pairs = Simulator(3).pairs(f"population_{number}", split, 0, count)
            for place, one in enumerate(pairs):
                mark = "~" if split == "train" and place < broken[name] else ""
                lines.append(
                    {
                        "prompt": list(one.prompt),
                        "chosen": one.chosen + mark,
                        "rejected": one.rejected,
                    }
                )
            write_lines(folder / f"{name}.{split}.jsonl", lines)


@pytest.fixture(scope="module")
def broken_config(
    cluster: None, small_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> MakeBroken:
    """A run of that model on `clean` and another source."""
    folder = tmp_path_factory.mktemp("broken")
    save_broken(folder / "base")
    save_sources(folder / "data")

    def make(output_dir: Path, source: str, **train: Any) -> RunConfig:
        return small_config(
            output_dir,
            data={"root": str(folder / "data"), "train_on": ["clean", source]},
            model={"path": str(folder / "base")},
            train={"workers": 2, **train},
        )

    return make


def test_steps_that_are_not_finite_are_skipped(broken_config: MakeBroken, tmp_path: Path) -> None:
    run(broken_config(tmp_path, "dirty", zero_stage=2))
    lines = metrics(tmp_path)
    skipped = [line["step"] for line in lines if line["skipped"]]
    assert len(lines) == 8
    assert len(skipped) in (1, 2)
    for line in lines:
        broken = line["step"] in skipped
        assert (line["source_loss"]["dirty"] is None) == broken
        assert (line["loss"] is None) == broken
        assert line["source_loss"]["clean"] > 0
    weights = load_file(tmp_path / "model" / "model.safetensors")
    for name, weight in weights.items():
        assert (~torch.isfinite(weight)).any(dim=-1).sum() == (name == "model.embed_tokens.weight")


def test_a_run_that_only_skips_stops_and_is_not_tried_again(
    broken_config: MakeBroken, tmp_path: Path
) -> None:
    config = broken_config(tmp_path, "spoilt", max_skipped=3)
    with pytest.raises(
        UserError,
        match=r"^training stopped: 3 optimizer steps in a row were skipped, the last at step 2, "
        r"because the loss or head gradient of spoilt was not finite$",
    ):
        run(config)
    assert [line["step"] for line in metrics(tmp_path)] == [0, 1, 2]
