"""Scores by TRL's RewardTrainer as it begins to train on from the model, and a step of it."""

from __future__ import annotations

import math
import tempfile

import torch
from datasets import Dataset
from exchange import answer, question
from trl import RewardConfig, RewardTrainer

asked = question()
pairs = Dataset.from_list(asked["pairs"])
scores: list[torch.Tensor] = []


def keep(model: object, inputs: object, output: object) -> None:
    # A batch has the chosen answers first and then the rejected ones.
    scores.extend(torch.stack(output.logits.squeeze(-1).float().chunk(2), dim=1))


with tempfile.TemporaryDirectory() as folder:
    trainer = RewardTrainer(
        asked["model"],
        args=RewardConfig(
            output_dir=folder,
            max_length=None,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=4,
            max_steps=1,
            learning_rate=1e-3,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
        ),
        train_dataset=pairs,
        eval_dataset=pairs,
    )
    hook = trainer.model.register_forward_hook(keep)
    trainer.evaluate()
    hook.remove()
    before = trainer.model.score.weight.detach().clone()
    loss = trainer.train().training_loss
    assert math.isfinite(loss)
    assert not torch.equal(before, trainer.model.score.weight)
answer("trl", RewardTrainer=torch.cat(scores).tolist())
