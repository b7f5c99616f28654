"""Preparation with Ray Data: read, check, tokenise, shuffle, write a file per source and split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from more_ray import storage
from more_ray.config import DataConfig
from more_ray.config.data import each
from more_ray.data.audit import Audit
from more_ray.data.lengths import LengthCounter
from more_ray.data.prepared import (
    PAIR_SCHEMA,
    Identity,
    Manifest,
    PairWriter,
    Prepared,
    SourceCounts,
)
from more_ray.data.reading import ReadShard, Shard
from more_ray.data.rejects import Reason
from more_ray.data.shapes import Seen, look
from more_ray.data.simulated import Simulator
from more_ray.data.sources import SourceFiles, fingerprint, has_test, iter_records, locate
from more_ray.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 4
"""Increased when the meaning of prepared files changes, so that old ones are not reused."""
CHECKED_RECORDS = 1_000
"""First records of a file, which are searched for columns that are not read."""
SIMULATED_SHARD = 5_000
"""Pairs of one simulated read task."""


def prepare(
    data: DataConfig,
    tokenizer: PreTrainedTokenizerBase,
    progress: Callable[[int], None] = lambda pairs: None,
    chosen_only: bool = False,
    whole: Sequence[str] = (),
    soft: bool = False,
) -> Prepared:
    """The prepared form of what `data` names, reused where inputs and settings are the same.

    Args:
        chosen_only: prompts and chosen answers, without the rejected ones; see `ReadShard`.
        whole: sources without a test file, all of whose pairs become test pairs; `data.test_pairs`
            limits them only where it is given.
        progress: called with the number of pairs written so far.
        soft: keep ties and the shares of votes; without it ties are rejects, and a pair has one
            hard label.

    Raises:
        DataError: a missing file, an unknown source, a source without a usable pair, or more
            rejects than `data.max_reject_share`.
    """
    files = locate(data) if data.sources or data.root else None
    simulator = Simulator(
        data.simulator.sources,
        data.simulator.drift,
        data.simulator.noise,
        data.simulator.seed,
        data.simulator.votes,
    )
    names = [file.name for file in files] if files else simulator.names()
    identity: Identity = {
        "format": FORMAT,
        "chosen_only": chosen_only,
        "soft": soft,
        "whole": [sorted(whole), "test_pairs" in data.model_fields_set] if whole else [],
        "data": data.model_dump(exclude={"prepared", "root", "sources", "train_on", "resample"}),
        "inputs": [fingerprint(file) for file in files] if files else asdict(simulator),
        "tokenizer": digest(
            [
                tokenizer.backend_tokenizer.to_str(),
                tokenizer.chat_template,
                tokenizer.special_tokens_map,
            ]
        ),
    }
    folder = storage.join(storage.absolute(data.prepared), digest(identity)[:16])
    manifest_file = storage.join(folder, "manifest.json")
    if storage.exists(manifest_file):
        return Prepared.open(folder)
    read = ReadShard(names, simulator, tokenizer, data, chosen_only, frozenset(whole), soft)
    with storage.alone_in(folder):
        if not storage.exists(manifest_file):  # by another process meanwhile
            manifest: Manifest = {"sources": _prepare(read, files, folder, progress), **identity}
            storage.write_json(manifest_file, manifest)
    return Prepared.open(folder)


def _prepare(
    read: ReadShard,
    files: list[SourceFiles] | None,
    folder: str,
    progress: Callable[[int], None],
) -> dict[str, SourceCounts]:
    """Write the tokenizer and the files of all sources; returns counts for each source."""
    names, data, whole = read.names, read.data, read.whole
    tokenizer_folder = storage.join(folder, "tokenizer")
    with storage.uploading(tokenizer_folder, last="tokenizer_config.json") as local:
        read.tokenizer.save_pretrained(local)
    shards = _file_shards(files) if files else _simulated_shards(data, names)
    rows = (
        ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        .map_batches(read, batch_size=1, batch_format="numpy", num_cpus=1)
        .sort(["split", "source", "key", "nth"])  # the test pairs of all sources come first
    )
    counts = _write(rows, names, folder, data, whole, progress)
    for file in files or []:
        seen = _seen(file)
        counts[file.name]["shape"] = " and ".join(sorted(seen.shapes))
        counts[file.name]["unread"] = sorted(seen.unread)
    _check_counts(counts, data, whole)
    return counts


def _seen(file: SourceFiles) -> Seen:
    """What the first records of a source's files are taken for, and what is not read of them."""
    seen = Seen()
    for split in ("train", "test") if has_test(file) else ("train",):
        for _, records in iter_records(file, split):
            with closing(records):
                part = look(islice(records, CHECKED_RECORDS), file.how)
                seen = Seen(seen.shapes | part.shapes, seen.unread | part.unread)
    return seen


def counted(data: DataConfig, prepared: Prepared) -> dict[str, dict[str, Any]]:
    """What was counted of each source, and the file that it came from."""
    located = locate(data) if data.sources or data.root else []
    files = {source.name: source.place for source in located}
    counts = prepared.manifest["sources"].items()
    return {name: {**count, "file": files.get(name)} for name, count in counts}


def _file_shards(files: list[SourceFiles]) -> list[Shard]:
    return [
        Shard(source, split, file)
        for source, file in enumerate(files)
        for split in ("train", "test")
    ]


def _simulated_shards(data: DataConfig, names: list[str]) -> list[Shard]:
    train_K, test_K = (
        each(size, len(names)) for size in (data.simulator.pairs, data.simulator.test_pairs)
    )
    return [
        Shard(source, split, None, start, min(start + SIMULATED_SHARD, wanted))
        for source, sizes in enumerate(zip(train_K, test_K, strict=True))
        for split, wanted in zip(("train", "test"), sizes, strict=True)
        for start in range(0, wanted, SIMULATED_SHARD)
    ]


def _write(
    rows: ray.data.Dataset,
    names: list[str],
    folder: str,
    data: DataConfig,
    whole: Collection[str],
    progress: Callable[[int], None],
) -> dict[str, SourceCounts]:
    """Stream the sorted rows into their files; returns counts for each source."""
    filesystem, path = storage.locate(folder)
    limits = {
        (name, split): limit
        for name in names
        for split, limit in (("train", data.max_pairs), ("test", data.test_pairs))
        if not (name in whole and "test_pairs" not in data.model_fields_set)
    }
    counts = {name: _nothing_counted() for name in names}
    digests = {(name, split): hashlib.sha256() for name in names for split in ("train", "test")}
    audit = Audit()
    lengths = {name: LengthCounter(data.max_length) for name in names}
    with ExitStack() as stack:
        rejects = stack.enter_context(filesystem.open_output_stream(f"{path}/rejects.jsonl"))
        writers = {
            (name, split): stack.enter_context(
                PairWriter(f"{path}/{name}.{split}.parquet", filesystem)
            )
            for name in names
            for split in ("train", "test")
        }
        for table in rows.iter_batches(batch_size=4_096, batch_format="pyarrow"):
            parts = zip(table["split"].to_pylist(), table["source"].to_pylist(), strict=True)
            for split, source in sorted(set(parts)):
                name, count = names[source], counts[names[source]]
                part = table.filter((pc.field("source") == source) & (pc.field("split") == split))
                bad = part.filter(pc.field("reason").is_valid())
                for reject in bad.select(["reason", "where", "detail"]).to_pylist():
                    if reject["reason"] == Reason.CORRUPT_FILE.value and data.max_reject_share < 1:
                        raise DataError(
                            f"{reject['where']}: cannot be read to its end ({reject['detail']}); "
                            "how much is missing is not known; data.max_reject_share=1 goes on"
                        )
                    reasons = count["rejected"]
                    reasons[reject["reason"]] = reasons.get(reject["reason"], 0) + 1
                    line = {"source": name, "split": split, **reject}
                    rejects.write(json.dumps(line).encode() + b"\n")
                good = part.filter(pc.field("reason").is_null())
                count["train_read" if split == "train" else "test_read"] += len(good)
                if split == "train" and data.on_leak == "drop":
                    kept = good.filter(pa.array(~audit.leaked(good)))
                    count["leaked"] += len(good) - len(kept)
                    good = kept
                limit = limits.get((name, split))
                room = len(good) if limit is None else limit - count[split]
                good = good.slice(0, room)
                if split == "train" and data.on_leak != "drop":
                    count["leaked"] += int(audit.leaked(good).sum())
                audit.see(name, split, good)
                lengths[name].see(good)
                digests[name, split].update(good["pair"].to_numpy().tobytes())
                writers[name, split].write(good.select(PAIR_SCHEMA.names).cast(PAIR_SCHEMA))
                count[split] += len(good)
            progress(sum(count["train"] + count["test"] for count in counts.values()))
    return {
        name: {
            **count,
            **audit.repeats(name),
            "lengths": lengths[name].lengths(),
            "digest": {split: digests[name, split].hexdigest()[:16] for split in ("train", "test")},
        }
        for name, count in counts.items()
    }


def _nothing_counted() -> SourceCounts:
    return {
        "train": 0,
        "test": 0,
        "train_read": 0,
        "test_read": 0,
        "leaked": 0,
        "rejected": {},
        "repeated": 0,
        "contradicted": 0,
        "contradicted_elsewhere": 0,
    }


def _check_counts(
    counts: dict[str, SourceCounts], data: DataConfig, whole: Collection[str]
) -> None:
    for name, count in counts.items():
        rejects = count["rejected"]
        rejected = sum(rejects.values()) - rejects.get(Reason.TIE.value, 0)  # no fault of the data
        share = rejected / max(1, rejected + count["train_read"] + count["test_read"])
        reasons = ", ".join(f"{number} {reason}" for reason, number in count["rejected"].items())
        for split in ("train", "test"):
            if split == "test" and count[split] == 1:
                raise DataError(f"source {name}: 1 usable test pair; 2 are needed")
            if not count[split] and not (split == "train" and name in whole):
                raise DataError(
                    f"source {name}: no usable {split} pair"
                    + (f"; rejected: {reasons}" if reasons else "")
                )
        if data.on_leak == "error" and count["leaked"]:
            raise DataError(
                f"source {name}: {count['leaked']} training pairs have the prompt of a test pair; "
                "data.on_leak=warn and drop go on"
            )
        if share > data.max_reject_share:
            raise DataError(
                f"source {name}: {share:.0%} of its pairs rejected, without ties ({reasons}); "
                f"data.max_reject_share allows {data.max_reject_share:.0%}"
            )


def digest(value: Any) -> str:
    """A fingerprint of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
