"""Prepared data: a tokenised, shuffled Parquet file per source and split, and a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs
from typing_extensions import NotRequired

from more_ray import storage
from more_ray.data.audit import Repeats
from more_ray.data.lengths import Lengths
from more_ray.data.mixture import GROUP

PAIR_SCHEMA = pa.schema(
    [
        pa.field("pair", pa.int64(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("prompt", pa.uint64(), nullable=False),
        pa.field("shared", pa.list_(pa.int32()), nullable=False),
        pa.field("chosen", pa.list_(pa.int32()), nullable=False),
        pa.field("rejected", pa.list_(pa.int32()), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("chosen_characters", pa.int32(), nullable=False),
        pa.field("rejected_characters", pa.int32(), nullable=False),
        pa.field("margin", pa.float32()),
        pa.field("probability", pa.float32()),
        pa.field("subset", pa.string()),
        pa.field("share", pa.float32()),
        pa.field("weight", pa.float32()),
    ]
)
"""`pair` names a pair by its content, whatever the tokenizer, and `prompt` its prompt. Pairs are
sorted by `key`, at random; those of one record of ranked answers have the same. `shared`
tokens come first in both sequences; `tokens` is the length of all three lists. A `share` is there
only where soft labels were asked for; without one it is 1, as is a missing `weight`."""

TOKENS = ["shared", "chosen", "rejected"]
LABELS = ["share", "weight"]
"""What only some data has; 1 where it is missing."""

Split = Literal["train", "test"]


class SourceCounts(Repeats):
    """What was counted of one source."""

    train: int
    """Pairs kept for training."""
    test: int
    train_read: int
    """Usable ones, before limits."""
    test_read: int
    leaked: int
    """Training pairs that have the prompt of a test pair."""
    rejected: dict[str, int]
    """Records, by the reason."""
    digest: NotRequired[dict[str, str]]
    """Of the pairs of each split, by their content; earlier versions did not write it."""
    shape: NotRequired[str]
    """What its files were taken for: columns, and what `data.columns` says of them."""
    unread: NotRequired[list[str]]
    """Columns of its files of which nothing is made; the simulator has none."""
    lengths: NotRequired[Lengths]
    """Not counted by earlier versions."""


class Identity(TypedDict):
    """What data was prepared from, and how: its folder's name is a digest of this."""

    format: int
    chosen_only: bool
    soft: bool
    whole: list[Any]
    """Sources that are for testing only; whether the settings limit their pairs."""
    data: dict[str, Any]
    """The settings that matter."""
    inputs: list[Any] | dict[str, Any]
    """Fingerprints of the files, or the simulator's settings."""
    tokenizer: str
    """A digest."""


class Manifest(Identity):
    """`manifest.json`."""

    sources: dict[str, SourceCounts]


class PairWriter:
    """Writes Parquet with row groups of exactly `GROUP` rows, whatever the size of each table."""

    def __init__(self, path: str, filesystem: fs.FileSystem) -> None:
        self._writer = pq.ParquetWriter(
            path, PAIR_SCHEMA, filesystem=filesystem, compression="zstd"
        )
        self._waiting = PAIR_SCHEMA.empty_table()

    def write(self, table: pa.Table) -> None:
        table = pa.concat_tables([self._waiting, table])
        full = len(table) // GROUP * GROUP
        if full:
            self._writer.write_table(table.slice(0, full), row_group_size=GROUP)
        self._waiting = table.slice(full).combine_chunks()

    def __enter__(self) -> PairWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if len(self._waiting):
            self._writer.write_table(self._waiting)
        self._writer.close()


class PreparedFile:
    """The pairs of one source and split; any rows can be read without the rest."""

    def __init__(self, uri: str) -> None:
        filesystem, path = storage.locate(uri)
        self._file = pq.ParquetFile(path, filesystem=filesystem)

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def take(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """The given rows, in the order given."""
        if not len(rows):
            return PAIR_SCHEMA.empty_table().select(list(columns))
        groups, group_of_row = np.unique(rows // GROUP, return_inverse=True)
        table = pa.concat_tables([self._group(int(group), tuple(columns)) for group in groups])
        # Every group is full except the file's last, which also sorts last here.
        return table.take(group_of_row * GROUP + rows % GROUP)

    def has(self, column: str) -> bool:
        """Whether a row has a value in this column, by the file's own statistics."""
        groups = map(self._file.metadata.row_group, range(self._file.num_row_groups))
        index = PAIR_SCHEMA.get_field_index(column)
        return any(group.column(index).statistics.null_count < group.num_rows for group in groups)

    @lru_cache(maxsize=64)  # noqa: B019 - lives as long as its task or worker
    def _group(self, group: int, columns: tuple[str, ...]) -> pa.Table:
        return self._file.read_row_group(group, columns=list(columns))


def labels_in(files: Sequence[PreparedFile]) -> dict[str, NDArray[np.float32]]:
    """`[N]` by name, those `LABELS` of all pairs in these files that one of them has."""
    return {
        name: np.concatenate(
            [
                file.take(np.arange(len(file)), [name])[name].fill_null(1).to_numpy()
                for file in files
            ]
        )
        for name in LABELS
        if any(file.has(name) for file in files)
    }


@dataclass(frozen=True)
class Prepared:
    """A prepared folder: `manifest.json`, `tokenizer/`, `<source>.<split>.parquet`."""

    folder: str
    manifest: Manifest

    @classmethod
    def open(cls, folder: str) -> Prepared:
        """Open a folder; raises FileNotFoundError unless its preparation was completed."""
        return cls(folder, storage.read_json(storage.join(folder, "manifest.json")))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.manifest["sources"])

    @property
    def digests(self) -> dict[str, dict[str, str] | None]:
        """Of the pairs of each split, by source; None for what earlier versions prepared."""
        return {name: count.get("digest") for name, count in self.manifest["sources"].items()}

    def sizes(self, split: Split) -> tuple[int, ...]:
        """Number of pairs of each source in a split."""
        return tuple(source[split] for source in self.manifest["sources"].values())

    def first_rows(self, source: str) -> NDArray[np.int64] | None:
        """The first row of each record among a source's training pairs; None: every row is one."""
        file = self.file(source, "train")
        key_N = file.take(np.arange(len(file)), ["key"])["key"].to_numpy()
        begins_N = np.concatenate([[True], key_N[1:] != key_N[:-1]])
        return None if begins_N.all() else np.flatnonzero(begins_N)

    def file(self, source: str, split: Split) -> PreparedFile:
        return PreparedFile(storage.join(self.folder, f"{source}.{split}.parquet"))

    @property
    def tokenizer_folder(self) -> str:
        return storage.join(self.folder, "tokenizer")
