"""The folder of sampled answers: a file per block of prompts, then all samples in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from more_ray import storage
from more_ray.config import ModelConfig
from more_ray.config.base import dump, read
from more_ray.config.sample import RejectionSamplingConfig
from more_ray.errors import UserError
from more_ray.model.fingerprint import check_models, note_models
from more_ray.parquet import read_schema, read_table, write_tables
from more_ray.run_folder import CONFIG, check_same
from more_ray.sample.engines.protocol import EngineRecord
from more_ray.sample.prompts import Prompt
from more_ray.sample.schemas import BEST_SCHEMA, SAMPLE_SCHEMA, SCORED_SCHEMA
from more_ray.sample.scored import names_of, with_names

ENGINES = "more_ray.engines"
"""Key of the Parquet metadata that says what drew the samples."""
POLICY = "policy"
PARTS_AT_ONCE = 128
"""Parts that are held in memory together; they make one row group of `samples.parquet`."""


@dataclass(frozen=True)
class SamplesFolder:
    """A folder of samples: `path` (a path or URI), with a part for every `block` prompts."""

    path: str
    block: int

    def check(self, config: RejectionSamplingConfig, prompts: Sequence[Prompt]) -> None:
        """Raises UserError where the folder holds samples of other settings, prompts or models."""
        check_same(self._config_path, "samples", config)
        self._check_prompts(config, prompts)
        check_models(self.path, "samples", _models_of(config))

    def claim(self, config: RejectionSamplingConfig, prompts: Sequence[Prompt]) -> None:
        """Note what is sampled here."""
        digest = {"prompts": len(prompts), "sha256": _digest(prompts)}
        storage.write_json(self._prompts_path, digest)
        note_models(self.path, _models_of(config))
        storage.write_text(self._config_path, dump(config))

    def check_samples(self, config: RejectionSamplingConfig, prompts: Sequence[Prompt]) -> None:
        """Check that the samples here are what `config` would draw; raises UserError if not."""
        if not storage.exists(storage.join(self.path, "samples.parquet")):
            raise UserError(f"samples_from: {self.path} holds no finished samples")
        if not storage.exists(self._config_path):
            raise UserError(f"samples_from: {self.path} holds no {CONFIG}")
        before = read(RejectionSamplingConfig, storage.read_text(self._config_path))
        for key in ("policy", "sampling"):
            if getattr(before, key).fixed() != getattr(config, key).fixed():
                raise UserError(f"samples_from: {self.path} holds samples with another {key}")
        self._check_prompts(config, prompts)
        policy = {key: model for key, model in _models_of(config).items() if key == POLICY}
        check_models(self.path, "samples", policy)

    def _check_prompts(self, config: RejectionSamplingConfig, prompts: Sequence[Prompt]) -> None:
        digest = _digest(prompts)
        path = self._prompts_path
        if storage.exists(path) and storage.read_json(path)["sha256"] != digest:
            raise UserError(
                f"{self.path} holds samples of other prompts than {config.prompts} has now; "
                "choose another folder or delete this one"
            )

    @property
    def _config_path(self) -> str:
        return storage.join(self.path, CONFIG)

    @property
    def _prompts_path(self) -> str:
        return storage.join(self.path, "prompts.json")

    def part(self, row: int) -> str:
        """The file of the block that contains the prompt `row`."""
        return storage.join(self.path, "parts", f"part-{row // self.block:05d}.parquet")

    def read_samples(self, row: int) -> pa.Table:
        """The samples of a block, as they were drawn."""
        return complete(read_table(self.part(row)), SAMPLE_SCHEMA)

    def write_part(self, samples: pa.Table) -> None:
        """Write the scored samples of a block."""
        write_tables(self.part(samples["row"][0].as_py()), [samples], samples.schema)

    def note_engines(self, records: Sequence[EngineRecord]) -> None:
        """Keep what drew samples here, in the order in which it began."""
        known = self.engines()
        new = [record for record in records if record not in known]
        storage.write_json(self._engines_path, [*known, *new])

    def engines(self) -> list[EngineRecord]:
        """What drew the samples: more than one where a later version went on. Earlier versions of
        this package did not note it."""
        path = self._engines_path
        return storage.read_json(path) if storage.exists(path) else []

    @property
    def _engines_path(self) -> str:
        return storage.join(self.path, "engines.json")

    def collect(self, prompts: int, samples: int) -> pa.Table:
        """Write `samples.parquet` and `best.parquet` from all parts.

        Their metadata has `engines`, as JSON, under `ENGINES`.

        Returns:
            All samples, without their texts.
        """
        whole = storage.join(self.path, "samples.parquet")
        about = {ENGINES: json.dumps(self.engines())}
        named = with_names(SCORED_SCHEMA, self._names(prompts)).metadata or {}
        schema = SCORED_SCHEMA.with_metadata({**named, **about})
        write_tables(whole, self._parts(prompts), schema)
        best = (
            part.filter(part["selected"]).select(BEST_SCHEMA.names) for part in self._parts(prompts)
        )
        write_tables(
            storage.join(self.path, "best.parquet"), best, BEST_SCHEMA.with_metadata(about)
        )
        texts = ("prompt", "response")
        table = read_table(whole, [name for name in SCORED_SCHEMA.names if name not in texts])
        assert np.array_equal(table["row"], np.repeat(np.arange(prompts), samples))
        return table

    def _parts(self, prompts: int) -> Iterator[pa.Table]:
        step = PARTS_AT_ONCE * self.block
        for first in range(0, prompts, step):
            rows = range(first, min(first + step, prompts), self.block)
            parts = [complete(read_table(self.part(row)), SCORED_SCHEMA) for row in rows]
            yield pa.concat_tables(parts)

    def _names(self, prompts: int) -> tuple[str, ...]:
        """The sources of the first part that has any: one without answers does not name them."""
        parts = map(self.part, range(0, prompts, self.block))
        return next(filter(None, (names_of(read_schema(part)) for part in parts)), ())


def complete(part: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`; null where a part of an earlier version lacks one."""
    there = part.column_names
    columns = [
        part[field.name] if field.name in there else pa.nulls(len(part), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema.with_metadata(part.schema.metadata))


def _models_of(config: RejectionSamplingConfig) -> dict[str, ModelConfig]:
    models = {POLICY: config.policy, "reward": config.reward}
    if config.policy.engine == "openai":  # its path is not read
        del models[POLICY]
    return models


def _digest(prompts: Sequence[Prompt]) -> str:
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()
