"""Preparation on real Ray Data: what is written, what is reused, what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import read_lines, write_lines

from more_ray.config import DataConfig, ModelConfig
from more_ray.data.prepare import prepare
from more_ray.data.prepared import Prepared
from more_ray.errors import DataError
from more_ray.model.tokenizer import training_tokenizer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("cluster")]


def pair(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "prompt": f"Question {number}?",
        "chosen": f"A good answer to {number}.",
        "rejected": f"No, not {number}.",
        **changes,
    }


def prepared_from(folder: Path, **data: Any) -> Prepared:
    config = DataConfig(root=str(folder), prepared=str(folder / "prepared"), **data)
    return prepare(config, training_tokenizer(ModelConfig(), config.max_length))


def prompts(prepared: Prepared, source: str, split: str) -> list[tuple[int, ...]]:
    table = pq.read_table(Path(prepared.folder) / f"{source}.{split}.parquet")
    return [tuple(tokens) for tokens in table["shared"].to_pylist()]


def test_pairs_are_shuffled_capped_split_and_reused(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.train.jsonl", [pair(number) for number in range(300)])
    write_lines(tmp_path / "a.test.jsonl", [pair(number) for number in range(300, 340)])
    write_lines(tmp_path / "b.train.jsonl", [pair(number) for number in range(200)])
    prepared = prepared_from(tmp_path, max_pairs=250, test_fraction=0.2)
    assert prepared.names == ("a", "b")
    assert prepared.sizes("train")[0] == 250
    assert prepared.sizes("test")[0] == 40
    assert sum(prepared.manifest["sources"]["b"][split] for split in ("train", "test")) == 200
    assert 20 <= prepared.sizes("test")[1] <= 60
    for name, kept in (("a", 250 + 40), ("b", 200)):
        lengths = prepared.manifest["sources"][name]["lengths"]
        assert (lengths["texts"], lengths["compared"], lengths["cut"]) == (2 * kept, kept, 0)
        assert lengths["longer"] == kept  # "A good answer to 7." and "No, not 7."
    assert not set(prompts(prepared, "b", "train")) & set(prompts(prepared, "b", "test"))

    manifest = Path(prepared.folder) / "manifest.json"
    written = manifest.stat().st_mtime_ns
    again = prepared_from(tmp_path, max_pairs=250, test_fraction=0.2)
    assert again.folder == prepared.folder
    assert manifest.stat().st_mtime_ns == written
    other = prepared_from(tmp_path, max_pairs=250, test_fraction=0.2, seed=1)
    assert other.folder != prepared.folder
    assert prompts(other, "a", "train") != prompts(prepared, "a", "train")


def test_rejects_are_counted_and_written_with_their_reasons(tmp_path: Path) -> None:
    tail = " same words" * 40
    bad = [
        pair(1, chosen=""),
        pair(2, chosen=f"x{tail}", rejected=f"y{tail}"),
        pair(3, rejected="A good answer to 3."),
    ]
    write_lines(tmp_path / "a.train.jsonl", [pair(number) for number in range(60)] + bad)
    write_lines(tmp_path / "a.test.jsonl", [pair(100), pair(101)])
    prepared = prepared_from(tmp_path, max_length=16)
    assert prepared.manifest["sources"]["a"]["rejected"] == {
        "empty field": 1,
        "identical after truncation": 1,
        "chosen equals rejected": 1,
    }
    rejects = read_lines(Path(prepared.folder) / "rejects.jsonl")
    assert {reject["reason"] for reject in rejects} == {
        "empty field",
        "identical after truncation",
        "chosen equals rejected",
    }


def test_a_source_without_a_usable_pair(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.train.jsonl", [pair(number, chosen="") for number in range(3)])
    with pytest.raises(
        DataError, match=r"^source a: no usable train pair; rejected: 3 empty field$"
    ):
        prepared_from(tmp_path)


def test_a_single_test_pair_is_too_few(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.train.jsonl", [pair(number) for number in range(9)])
    write_lines(tmp_path / "a.test.jsonl", [pair(9)])
    with pytest.raises(DataError, match=r"^source a: 1 usable test pair; 2 are needed$"):
        prepared_from(tmp_path)


def test_more_rejects_than_the_limit(tmp_path: Path) -> None:
    records = [pair(number) for number in range(60)]
    write_lines(tmp_path / "a.train.jsonl", records + [pair(0, chosen="")] * 40)
    expected = r"^source a: 40% of its pairs rejected, without ties \(40 empty field\); data.max_re"
    with pytest.raises(DataError, match=expected):
        prepared_from(tmp_path)


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    """Nobody knows how much is missing, whatever share of the pairs was rejected."""
    lines = "".join(json.dumps(pair(number)) + "\n" for number in range(500)).encode()
    whole = gzip.compress(lines)
    (tmp_path / "a.train.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.train\.jsonl\.gz: cannot be read to its end \(.*=1 g"):
        prepared_from(tmp_path)
    assert prepared_from(tmp_path, max_reject_share=1).sizes("train")[0] > 50


def test_the_same_pairs_have_the_same_digest_wherever_they_lie(tmp_path: Path) -> None:
    digests = []
    for folder, first in (("here", 0), ("there", 0), ("other", 1)):
        (tmp_path / folder).mkdir()
        lines = [pair(number) for number in range(first, first + 60)]
        write_lines(tmp_path / folder / "a.train.jsonl", lines)
        digests.append(prepared_from(tmp_path / folder, test_fraction=0.5).digests["a"])
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_a_missing_file(tmp_path: Path) -> None:
    config = DataConfig(sources=[f"mine={tmp_path}/none.jsonl"], prepared=str(tmp_path))
    with pytest.raises(DataError, match=r"none\.jsonl: no such file$"):
        prepare(config, training_tokenizer(ModelConfig(), config.max_length))


def test_a_file_of_another_kind_of_data(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.train.jsonl", [{"question": "a", "answer": "b"}])
    with pytest.raises(DataError, match="no preference data in columns answer, question; allowed:"):
        prepared_from(tmp_path)


@pytest.mark.parametrize("on_leak", ["warn", "drop", "error"])
def test_what_training_pairs_share_is_counted(tmp_path: Path, on_leak: str) -> None:
    swapped = {"chosen": pair(1)["rejected"], "rejected": pair(1)["chosen"]}
    write_lines(
        tmp_path / "a.train.jsonl",
        [*map(pair, range(10)), pair(0), pair(0), pair(1, **swapped), pair(20, chosen="Another.")],
    )
    write_lines(tmp_path / "a.test.jsonl", [pair(20), pair(21)])
    two = {"chosen": pair(2)["rejected"], "rejected": pair(2)["chosen"]}
    write_lines(tmp_path / "b.train.jsonl", [pair(2, **two), pair(21), pair(30)])
    write_lines(tmp_path / "b.test.jsonl", [pair(40), pair(41)])
    if on_leak == "error":
        with pytest.raises(DataError, match="source a: 1 training pairs have the prompt of a test"):
            prepared_from(tmp_path, on_leak=on_leak)
        return
    sources = prepared_from(tmp_path, on_leak=on_leak).manifest["sources"]
    keys = ("train", "leaked", "repeated", "contradicted", "contradicted_elsewhere")
    kept = int(on_leak == "warn")
    assert [sources["a"][key] for key in keys] == [13 + kept, 1, 2, 2, 1]
    assert [sources["b"][key] for key in keys] == [2 + kept, 1, 0, 0, 1]


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    records = [pair(number, annotator="x", subset="easy", helpfulness=3) for number in range(40)]
    write_lines(tmp_path / "a.train.jsonl", records)
    counts = prepared_from(tmp_path).manifest["sources"]["a"]
    assert counts["shape"] == "chosen, rejected"
    assert counts["unread"] == ["annotator", "helpfulness"]


def test_columns_and_ties_of_a_data_set_that_datasets_loads(tmp_path: Path) -> None:
    records = [
        {"ask": f"Question {number}?", "a": "Yes.", "b": "No.", "best": "ab"[number % 2]}
        for number in range(60)
    ]
    folder = tmp_path / "set"
    folder.mkdir()
    write_lines(folder / "train.jsonl", [*records, {**records[0], "best": "tie"}])
    config = DataConfig(
        sources=[f"mine=hub:{folder}"],
        columns={"mine": {"prompt": "ask", "answers": ["a", "b"], "label": "best"}},
        prepared=str(tmp_path / "prepared"),
    )
    counts = prepare(config, training_tokenizer(ModelConfig(), 64)).manifest["sources"]["mine"]
    assert counts["train"] + counts["test"] == 60
    assert counts["rejected"] == {"tie": 1}
    assert counts["shape"] == "prompt=ask, answers=a and b, label=best"


def test_a_template_that_writes_both_answers_alike(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.train.jsonl", [pair(number) for number in range(40)])
    config = DataConfig(root=str(tmp_path), prepared=str(tmp_path / "prepared"))
    tokenizer = training_tokenizer(ModelConfig(), 64)
    tokenizer.chat_template = "{{ messages[0].content }}{{ eos_token }}"
    with pytest.raises(DataError, match=r"rejected: 40 chat template writes both answers alike"):
        prepare(config, tokenizer)
