"""The last hidden states of pairs: one forward pass on Ray Data, a file for every block of pairs.

A block that is there is not computed again, so a pass that was killed goes on, and another run on
the same data and trunk reads what is there.

Legend: N pairs, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray

from more_ray import storage
from more_ray.calibrate.trunk import load_trunk
from more_ray.cluster import RETRIES, uses_gpu, worker_options
from more_ray.config import ModelConfig
from more_ray.data.prepare import digest
from more_ray.data.prepared import TOKENS, Prepared, Split
from more_ray.device import SCORING_TOKENS, made_apart, use_threads
from more_ray.errors import DataError
from more_ray.evaluate.pairs import batches_of_like_length, pack_rows
from more_ray.model.dtype import DTYPES, choose_dtype
from more_ray.model.tokenizer import prepared_tokenizer
from more_ray.parquet import read_table, write_table

FORMAT = 1
"""Raised when the meaning of the files changes, so that old ones are not reused."""
BLOCK = 512
"""Pairs of one file."""


@dataclass(frozen=True)
class Pass:
    """How hidden states are computed, and where they are kept."""

    model: ModelConfig
    trunk: str
    """`trunk_digest` of that model."""
    root: str
    """Folder of all passes, a folder each."""
    precision: str
    workers: int
    use_gpu: bool | None
    batch_tokens: int | None

    def folder(self, prepared: Prepared, dtype: str) -> str:
        """Where the hidden states of these pairs are, by what they depend on."""
        identity = [FORMAT, BLOCK, Path(prepared.folder).name, self.trunk, dtype]
        if any(digests := prepared.digests.values()):  # what is prepared again may be other data
            identity.append(list(digests))
        return storage.join(storage.absolute(self.root), digest(identity)[:16])


@dataclass(frozen=True)
class Block:
    """Some neighbouring rows of a prepared file."""

    source: str
    split: str
    first: int
    stop: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.source}.{self.split}-{self.first // BLOCK:06d}.parquet"

    def file(self, folder: str) -> str:
        return storage.join(folder, self.name)


@dataclass(frozen=True)
class Features:
    """The hidden states of all pairs of prepared data, in its order."""

    folder: str
    prepared: Prepared

    def of(self, source: str, split: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`[N, H]` of the chosen and of the rejected answers.

        Raises:
            DataError: the source has no pairs in that split.
        """
        tables = [
            read_table(block.file(self.folder))
            for block in blocks(self.prepared)
            if (block.source, block.split) == (source, split)
        ]
        if not tables:
            raise DataError(f"data.sources: {source} has no {split} pairs")
        table = pa.concat_tables(tables)
        return _matrix(table["chosen"]), _matrix(table["rejected"])

    def differences(self, source: str, split: str) -> NDArray[np.float32]:
        """`[N, H]`: chosen less rejected."""
        chosen_NH, rejected_NH = self.of(source, split)
        return chosen_NH - rejected_NH


def blocks(prepared: Prepared) -> list[Block]:
    """All pairs, a source and split after the other."""
    splits: tuple[Split, ...] = ("train", "test")
    return [
        Block(source, split, first, min(first + BLOCK, counts[split]))
        for source, counts in prepared.manifest["sources"].items()
        for split in splits
        for first in range(0, counts[split], BLOCK)
    ]


def extract(prepared: Prepared, one: Pass, progress: Callable[[int, int], None]) -> Features:
    """Compute the hidden states that are not there yet.

    Args:
        progress: told the pairs that are done, and all that there are.

    Raises:
        ModelError: the model cannot be loaded, or its head is not a plain linear one.
    """
    gpus = int(uses_gpu(one.use_gpu, one.workers))
    device = "cuda" if gpus else "cpu"
    every = blocks(prepared)
    there = {name: set(storage.files(one.folder(prepared, name))) for name in DTYPES}
    dtype = _dtype(one, {name: len(files) for name, files in there.items()}, device)
    folder = one.folder(prepared, dtype)
    waiting = [block for block in every if block.name not in there[dtype]]
    total = sum(block.stop - block.first for block in every)
    done = total - sum(block.stop - block.first for block in waiting)
    progress(done, total)
    if waiting:
        made = ray.data.from_items(
            [{"block": block} for block in waiting], override_num_blocks=len(waiting)
        ).map_batches(
            FeatureBlock,
            fn_constructor_args=(prepared.folder, one, dtype, device, folder),
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=one.workers),
            ray_remote_args_fn=lambda: RETRIES,
            **worker_options(gpus),
        )
        for row in made.iter_rows():
            done += row["pairs"]
            progress(done, total)
    return Features(folder, prepared)


def _dtype(one: Pass, there: Mapping[str, int], device: str) -> str:
    """The precision of the pass; for auto that of the hidden states that are there, if any are.

    Args:
        there: files, by precision.
    """
    if one.precision != "auto":
        return one.precision
    if any(there.values()):
        return max(there, key=there.__getitem__)
    choose = ray.remote(choose_dtype).options(**worker_options(int(device == "cuda")))
    return ray.get(choose.remote(one.precision, one.model, device))


class FeatureBlock:
    """A Ray Data actor that holds the trunk."""

    def __init__(self, prepared: str, one: Pass, dtype: str, device: str, folder: str) -> None:
        use_threads(one.workers)
        self._prepared, self._device, self._folder = Prepared.open(prepared), device, folder
        self._tokens = one.batch_tokens or SCORING_TOKENS[device]
        tokenizer = prepared_tokenizer(self._prepared)
        self._model = made_apart(lambda: load_trunk(one.model, tokenizer, dtype, device))

    def __call__(self, batch: dict[str, Any]) -> dict[str, NDArray[np.int64]]:
        (block,) = batch["block"]
        rows = self._prepared.file(block.source, block.split).take(
            np.arange(block.first, block.stop), [*TOKENS, "tokens"]
        )
        z_N2H = self.hidden_states(rows)
        table = pa.table({"chosen": _column(z_N2H[:, 0]), "rejected": _column(z_N2H[:, 1])})
        write_table(block.file(self._folder), table)
        return {"pairs": np.array([len(rows)])}

    @torch.inference_mode()
    def hidden_states(self, rows: pa.Table) -> NDArray[np.float32]:
        """`[N, 2, H]` of rows of prepared data: chosen, rejected."""
        parts = list(batches_of_like_length(rows["tokens"].to_numpy(), self._tokens))
        states = [
            self._model(pack_rows(rows.take(part)).to(self._device))[1].float().cpu().numpy()
            for part in parts
        ]
        z_N2H = np.empty((len(rows), *states[0].shape[1:]), np.float32)
        z_N2H[np.concatenate(parts)] = np.concatenate(states)
        return z_N2H


def _column(z_NH: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(z_NH.ravel()), z_NH.shape[1])


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    return column.combine_chunks().flatten().to_numpy().reshape(len(column), -1)
