"""A worker without Ray: processes that hold one process group and DeepSpeed engines."""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from deepspeed import DeepSpeedEngine
from transformers import PreTrainedModel

from more_ray.cluster import WORKER_ENVIRONMENT
from more_ray.config import ModelConfig, RunConfig
from more_ray.model.loading import load_classifier
from more_ray.model.reward_model import RewardModel, choose_batch_format
from more_ray.model.tokenizer import training_tokenizer
from more_ray.train.engine import init_distributed, make_engine

KIB_PER_MIB = 1024
MIB = 2**20


def in_processes(
    function: Callable[..., Any], *arguments: Any, workers: int = 1, tuned_malloc: bool = True
) -> Any:
    """What `function(rank, workers, port, *arguments)` returns on rank 0, each in a new process.

    Args:
        tuned_malloc: give the processes the allocator settings that training gives its workers.
    """
    port = free_port()
    spawn = multiprocessing.get_context("spawn")
    with (
        _environment(WORKER_ENVIRONMENT if tuned_malloc else {}),
        ProcessPoolExecutor(workers, spawn) as pool,
    ):
        ranks = [pool.submit(function, rank, workers, port, *arguments) for rank in range(workers)]
        results = [rank.result() for rank in ranks]
    return results[0]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def peak_memory_mib(device: torch.device | str = "cpu") -> float:
    """On a CPU of this process since it started; on a GPU of tensors since the peak was reset."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


def synchronize(device: torch.device | str) -> None:
    """Wait for what a GPU has been given to do."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


@contextmanager
def process_group(
    rank: int, workers: int, port: int, device: torch.device | str = "cpu"
) -> Iterator[None]:
    """That of training workers: NCCL between GPUs, gloo between CPUs."""
    variables = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(workers),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with _environment(variables):
        dist.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo")
        try:
            init_distributed(stall_timeout=1_800)
            yield
        finally:
            dist.destroy_process_group()


@contextmanager
def engine(
    rank: int, workers: int, port: int, config: RunConfig, steps: int
) -> Iterator[DeepSpeedEngine]:
    """The engine that a training worker would have, on the CPU in fp32."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    with process_group(rank, workers, port):
        model = RewardModel(classifier(config.model, config.data.max_length))
        yield training_engine(model, config, torch.float32, steps)


def training_engine(
    model: RewardModel, config: RunConfig, dtype: torch.dtype, steps: int
) -> DeepSpeedEngine:
    """The engine that a training worker would have around `model`, on the device it finds."""
    made = make_engine(model, config, dtype, steps)
    choose_batch_format(model, config.model.batch_format)
    made.train()
    return made


def classifier(model: ModelConfig, max_length: int) -> PreTrainedModel:
    """The same weights and score head in every process."""
    return load_classifier(model, training_tokenizer(model, max_length), torch.float32, seed=0)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
