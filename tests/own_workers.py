"""Training workers of a test's own, without Ray: processes that do what Ray Train's workers do.

Legend: N test pairs, K sources, S steps with a lam, R ranks, C columns.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from deepspeed import DeepSpeedEngine
from deepspeed.utils import safe_get_full_optimizer_state
from transformers import PreTrainedTokenizerBase

from more_ray.config import RunConfig
from more_ray.data.mixture import Mixture
from more_ray.data.packing import PackedBatch
from more_ray.data.prepared import Prepared
from more_ray.evaluate.on_workers import run_test_pairs
from more_ray.evaluate.pairs import EvaluationPairs
from more_ray.model.dtype import DTYPES
from more_ray.objective.schemes import make_weighting
from more_ray.objective.weighting import Weighting
from more_ray.train.engine import gather_weights, init_distributed, make_engine
from more_ray.train.exchange import SourceStats, pair_weights
from more_ray.train.step import micro_step, whole_batch_step
from more_ray.train.sums import SourceSums
from more_ray.train.tasks import task_of

OTHERS_SECONDS, SECONDS = 60, 120
"""How long a worker waits for the others, and how long it may take in all."""
IMPORTED_LATER = ("peft", "transformers.models.llama.modeling_llama")
"""What making a model imports."""
CPU = torch.device("cpu")
Arrays = dict[str, np.ndarray]


class Workers:
    """Processes that hold one gloo group, by how many they are. They stay, for the next test.

    All are forked from one process that has imported the libraries.
    """

    def __init__(self, folder: Path) -> None:
        from more_ray.cluster import WORKER_ENVIRONMENT

        self._folder = folder
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._made = 0
        forkserver.set_forkserver_preload([__name__, *IMPORTED_LATER])
        with pytest.MonkeyPatch.context() as patch:
            for name, value in WORKER_ENVIRONMENT.items():
                patch.setenv(name, value)
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
            patch.setenv("PYTHONWARNINGS", "ignore")  # torch deprecates what DeepSpeed calls
            patch.setenv("PYTHONPATH", str(Path(__file__).parent))
            forkserver.ensure_running()

    def __call__(self, count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `function(*arguments)` returns on each rank of `count`.

        An error there is raised here. A worker that hangs ends, and says where it did. After either
        there are other processes for the next test.
        """
        if count not in self._pools:
            self._made += 1
            store = str(self._folder / f"store-{self._made}")
            context = multiprocessing.get_context("forkserver")
            self._pools[count] = ProcessPoolExecutor(count, context, _join, (store, count))
        # Each process takes one: none ends its own before all have begun.
        work = [self._pools[count].submit(_do, function, arguments) for _ in range(count)]
        done, unfinished = wait(work, return_when=FIRST_EXCEPTION)
        if unfinished or any(one.exception() for one in done):
            self._pools.pop(count).shutdown(wait=False)
        by_rank = dict(one.result() for one in [*done, *unfinished])
        return [by_rank[rank] for rank in range(count)]

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown()


def _join(store: str, count: int) -> None:
    shared = dist.FileStore(store, count)
    rank = shared.add("ranks", 1) - 1
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    patience = timedelta(seconds=OTHERS_SECONDS)
    group = dist.PrefixStore("group", shared)
    dist.init_process_group("gloo", None, patience, count, rank, group)
    init_distributed(OTHERS_SECONDS)


def _do(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[int, Any]:
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    dist.barrier()
    result = function(*arguments)
    faulthandler.cancel_dump_traceback_later()
    return dist.get_rank(), result


@dataclass(frozen=True)
class Task:
    """A run for `train`."""

    config: RunConfig
    prepared: Prepared
    mixture: Mixture
    tokenizer: PreTrainedTokenizerBase
    batches: list[list[dict[str, Any]]]
    """The micro-batches of each rank, as rows of the stream."""


@dataclass(frozen=True)
class Trained:
    """What rank 0 has after a run."""

    lam_SK: np.ndarray
    loss_SK: np.ndarray
    gradient: Arrays
    """Gradients of the first optimizer step, as AdamW has seen it; in bf16 empty."""
    weights: Arrays
    score_N2: np.ndarray


def train(task: Task) -> Trained | None:
    """What the worker of a run does, from its micro-batches to the scores of the test pairs."""
    config, names = task.config, task.mixture.names
    objective = config.objective
    dtype = DTYPES[config.train.precision.replace("auto", "fp32")]
    kind = task_of(config, names)
    model = kind.load_model(task.tokenizer, dtype, CPU)
    mine = [packed(row) for row in task.batches[dist.get_rank()]]
    weighting = make_weighting(objective, names, task.mixture.sizes)
    engine = make_engine(model, config, dtype, len(mine))
    engine.train()
    losses = kind.losses()
    lines, gradient = [], None
    together = config.train.accumulation if objective.scope == "batch" else 1
    for step in range(0, len(mine), together):
        some, seeds = mine[step : step + together], list(range(step, step + together))
        if objective.scope == "batch":
            lines.append(whole_batch_step(engine, some, seeds, weighting, losses))
        else:
            torch.manual_seed(seeds[0])
            lines.append(micro_step(engine, some[0], weighting, objective.scope, losses))
        if gradient is None and engine.global_steps and dtype is torch.float32:
            gradient = _gradient(engine, config.optimizer.betas[0])
    score_N2 = run_test_pairs(engine, EvaluationPairs(task.prepared, 8_192), CPU)
    weights = gather_weights(engine)
    if weights is None:
        return None
    return Trained(
        lam_SK=np.stack([line.lam_K for line in lines]),
        loss_SK=np.stack([line.loss_K for line in lines]),
        gradient=gradient or {},
        weights={name: weight.float().numpy() for name, weight in weights.items()},
        score_N2=score_N2,
    )


def agree(
    sums_RKC: np.ndarray, weighting: Weighting, scope: str
) -> tuple[np.ndarray, SourceStats | None]:
    """The weight of a pair of each source on this rank, and what it learns of the micro-batch."""
    sums = SourceSums.unpack(torch.from_numpy(sums_RKC[dist.get_rank()]))
    weight_K, stats = pair_weights(sums, weighting, scope)
    return weight_K.numpy(), stats


def packed(row: dict[str, Any]) -> PackedBatch:
    """A micro-batch of the stream."""
    return PackedBatch.from_arrays(
        np.asarray(row["input_ids"]),
        np.asarray(row["lengths"]).reshape(-1, 3),
        np.asarray(row["source"]),
        np.asarray(row["margin"]),
        row["share"],
        row["weight"],
    )


def _gradient(engine: DeepSpeedEngine, beta: float) -> Arrays:
    """After one step AdamW's average of the gradients is `1 - beta` times the only one."""
    gradients = {}
    for name, parameter in engine.module.trained.named_parameters():
        if parameter.requires_grad:
            average = safe_get_full_optimizer_state(parameter, "exp_avg")
            if average is None:  # no ZeRO
                average = engine.optimizer.state[parameter]["exp_avg"]
            gradients[name] = (average / (1 - beta)).numpy()
    return gradients
