"""Parts, and the whole that they make."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from more_ray.config.sample import RejectionSamplingConfig
from more_ray.errors import UserError
from more_ray.sample.folder import SamplesFolder
from more_ray.sample.prompts import Prompt
from more_ray.sample.scored import names_of, with_names
from more_ray.sample.selection import SCORED_SCHEMA

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
    folder.claim(make_config(workers=3, verbose=True), PROMPTS)
    with pytest.raises(UserError, match=r"holds samples with sampling\."):
        folder.claim(make_config(sampling={"seed": 1}), PROMPTS)
    with pytest.raises(UserError, match=r"samples of other prompts than prompts\.jsonl has now"):
        folder.claim(make_config(), PROMPTS[::-1])


def test_only_finished_samples_of_the_same_policy_can_be_scored_again(tmp_path: Path) -> None:
    folder = SamplesFolder(str(tmp_path), block=2)
    folder.claim(make_config(), PROMPTS)
    with pytest.raises(UserError, match="holds no finished samples"):
        folder.check_samples(make_config(), PROMPTS)
    (tmp_path / "samples.parquet").touch()
    folder.check_samples(make_config(reward={"path": "another"}), PROMPTS)
    with pytest.raises(UserError, match="another policy"):
        folder.check_samples(make_config(policy={"path": "another"}), PROMPTS)
