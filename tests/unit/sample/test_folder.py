"""Parts, and the whole that they make."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from more_ray.config import ModelConfig
from more_ray.config.sample import RejectionSamplingConfig
from more_ray.errors import UserError
from more_ray.sample.engines.protocol import EngineRecord
from more_ray.sample.folder import ENGINES, SamplesFolder
from more_ray.sample.prompts import Prompt
from more_ray.sample.schemas import SAMPLE_SCHEMA, SCORED_SCHEMA
from more_ray.sample.scored import names_of, with_names

PROMPTS: list[Prompt] = [({"role": "user", "content": f"question {row}"},) for row in range(5)]


def make_config(**changes: object) -> RejectionSamplingConfig:
    values = {"prompts": "prompts.jsonl", "reward": {"path": "model"}, **changes}
    return RejectionSamplingConfig.model_validate(values)


def scored(rows: range) -> pa.Table:
    """Two samples a prompt, the second selected but for prompt 3, which has none."""
    return pa.Table.from_pylist(
        [
            {
                "row": row,
                "prompt": list(PROMPTS[row]),
                "sample": sample,
                "response": f"answer {row}.{sample}",
                "tokens": 3,
                "finished": True,
                "log_likelihood": -1.5,
                "score": float(sample),
                "duplicate": False,
                "selected": sample == 1 and row != 3,
                "rewards": [1.0, 2.0],
                "deviations": None,
            }
            for row in rows
            for sample in range(2)
        ],
        with_names(SCORED_SCHEMA, ("ours", "theirs") if 0 not in rows else ()),
    )


def test_the_whole_is_the_parts_in_order(tmp_path: Path) -> None:
    folder = SamplesFolder(str(tmp_path), block=2)
    for rows in (range(4, 5), range(2), range(2, 4)):
        folder.write_part(scored(rows))
    names = sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert names == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    without_texts = folder.collect(prompts=5, samples=2)
    assert "response" not in without_texts.column_names
    samples = pq.read_table(tmp_path / "samples.parquet")
    assert samples.equals(scored(range(5)))
    assert names_of(samples.schema) == ("ours", "theirs")
    best = pq.read_table(tmp_path / "best.parquet").to_pylist()
    assert [one["row"] for one in best] == [0, 1, 2, 4]
    assert best[3] == {
        "row": 4,
        "prompt": list(PROMPTS[4]),
        "response": "answer 4.1",
        "score": 1.0,
    }


def record(version: str) -> EngineRecord:
    return EngineRecord(
        engine="vllm",
        version=version,
        model="m",
        dtype="bfloat16",
        reproducible="same samples in the same batches",
    )


def test_the_files_say_what_drew_the_samples(tmp_path: Path) -> None:
    """Also where a later version went on."""
    folder = SamplesFolder(str(tmp_path), block=2)
    for rows in (range(2), range(2, 4), range(4, 5)):
        folder.write_part(scored(rows))
    for version in ("1", "1", "2"):
        folder.note_engines([record(version)])
    folder.collect(prompts=5, samples=2)
    for name in ("samples", "best"):
        metadata = pq.read_schema(tmp_path / f"{name}.parquet").metadata
        assert json.loads(metadata[ENGINES.encode()]) == [record("1"), record("2")]


def test_parts_of_an_earlier_version_have_no_log_likelihoods(tmp_path: Path) -> None:
    folder = SamplesFolder(str(tmp_path), block=2)
    for rows in (range(2), range(2, 4), range(4, 5)):
        folder.write_part(scored(rows))
    old = tmp_path / "parts" / "part-00000.parquet"
    pq.write_table(pq.read_table(old).drop_columns(["log_likelihood"]), old)
    samples = folder.read_samples(0)
    assert samples.schema.equals(SAMPLE_SCHEMA)
    assert samples["response"].equals(scored(range(2))["response"])
    folder.collect(prompts=5, samples=2)
    table = pq.read_table(tmp_path / "samples.parquet")
    assert table["log_likelihood"].to_pylist() == [None] * 4 + [-1.5] * 6
    assert folder.engines() == []


def test_parts_of_an_earlier_version_are_taken_over(tmp_path: Path) -> None:
    folder = SamplesFolder(str(tmp_path), block=2)
    folder.write_part(scored(range(2)).drop_columns(["rewards", "deviations"]))
    folder.write_part(scored(range(2, 4)))
    table = folder.collect(prompts=4, samples=2)
    assert table["rewards"].to_pylist() == [None] * 4 + [[1.0, 2.0]] * 4
    assert len(pq.read_table(tmp_path / "best.parquet")) == 3


def test_a_folder_belongs_to_its_config_and_prompts(tmp_path: Path) -> None:
    folder = SamplesFolder(str(tmp_path), block=2)
    folder.claim(make_config(), PROMPTS)
    folder.check(make_config(workers=3, verbose=True), PROMPTS)
    folder.check(make_config(policy={"python": "another", "timeout": 5}), PROMPTS)
    with pytest.raises(
        UserError, match=r"holds samples with policy\.engine=transformers, not vllm"
    ):
        folder.check(make_config(policy={"engine": "vllm"}), PROMPTS)
    with pytest.raises(UserError, match=r"holds samples with sampling\."):
        folder.check(make_config(sampling={"seed": 1}), PROMPTS)
    with pytest.raises(UserError, match=r"samples of other prompts than prompts\.jsonl has now"):
        folder.check(make_config(), PROMPTS[::-1])


def test_samples_are_of_the_models_that_were_there(tmp_path: Path) -> None:
    policy, reward = tmp_path / "policy.gguf", tmp_path / "reward"
    policy.write_bytes(b"a policy")
    reward.mkdir()
    (reward / "config.json").write_text("{}")
    config = make_config(policy={"path": str(policy)}, reward={"path": str(reward)})
    folder = SamplesFolder(str(tmp_path / "samples"), block=2)
    folder.check(config, PROMPTS)
    folder.claim(config, PROMPTS)
    folder.check(config, PROMPTS)
    (reward / "config.json").write_text('{"trained": "again"}')
    with pytest.raises(UserError, match=r"samples of another model than reward is now \(/"):
        folder.check(config, PROMPTS)
    (tmp_path / "samples" / "samples.parquet").touch()
    folder.check_samples(config, PROMPTS)  # scored anew by that reward model
    policy.write_bytes(b"trained again")
    with pytest.raises(UserError, match=r"samples of another model than policy is now \(/"):
        folder.check_samples(config, PROMPTS)


def test_a_folder_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """Its policy is written without an engine."""
    settings = make_config().model_dump(mode="json")
    settings["policy"] = ModelConfig().model_dump(mode="json")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    SamplesFolder(str(tmp_path), block=2).check(make_config(), PROMPTS)


def test_only_finished_samples_of_the_same_policy_can_be_scored_again(tmp_path: Path) -> None:
    folder = SamplesFolder(str(tmp_path), block=2)
    folder.claim(make_config(), PROMPTS)
    with pytest.raises(UserError, match="holds no finished samples"):
        folder.check_samples(make_config(), PROMPTS)
    (tmp_path / "samples.parquet").touch()
    changes = {"reward": {"path": "another"}, "policy": {"concurrency": 3}}
    folder.check_samples(make_config(**changes), PROMPTS)
    with pytest.raises(UserError, match="another policy"):
        folder.check_samples(make_config(policy={"path": "another"}), PROMPTS)
