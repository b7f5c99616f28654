"""Steps of TRL's RewardTrainer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from engine_process import synchronize
from real_lengths import Pairs
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import RewardConfig, RewardTrainer


def trl_steps(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batches: Sequence[Pairs],
    max_length: int,
    micro_pairs: int | None = None,
    **settings: Any,
) -> dict[str, list[float]]:
    """Seconds and loss of each optimizer step.

    Args:
        micro_pairs: pairs of a micro-batch, which divide a batch; None: a batch is one.
        settings: of `RewardConfig`, whose own defaults are gradient checkpointing, and bf16
            around weights in fp32.
    """
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *arguments: Any, **named: Any) -> None:
            if not ends:
                self.on_step_end()

        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            synchronize(model.device)
            ends.append(time.perf_counter())

    pairs = [pair for batch in batches for pair in batch]
    columns = {"chosen_ids": [one for one, _ in pairs], "rejected_ids": [two for _, two in pairs]}
    micro_pairs = micro_pairs or len(batches[0])
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            output_dir=folder,
            per_device_train_batch_size=micro_pairs,
            gradient_accumulation_steps=len(batches[0]) // micro_pairs,
            max_steps=len(batches),
            train_sampling_strategy="sequential",
            max_length=max_length,
            learning_rate=5e-5,
            lr_scheduler_type="linear",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=model.device.type == "cpu",
            **settings,
        )
        trainer = RewardTrainer(
            model,
            args=arguments,
            train_dataset=Dataset.from_dict(columns),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {"seconds": np.diff(ends).tolist(), "losses": losses}
