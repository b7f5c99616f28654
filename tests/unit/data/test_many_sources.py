"""Sources of several files, several sources of a file, and data sets that `datasets` loads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import write_lines

from more_ray.config import DataConfig
from more_ray.data.hub import parse_hub
from more_ray.data.records import Pair
from more_ray.data.shapes import HowToRead, look, read_pairs
from more_ray.data.sources import SourceFiles, fingerprint, has_test, iter_pairs, locate
from more_ray.errors import DataError

ANNOTATORS = Path(__file__).parents[2] / "data" / "annotators.jsonl"


def record(chosen: str) -> dict[str, Any]:
    return {"prompt": "Name a fruit.", "chosen": chosen, "rejected": "A stone."}


def chosen(source: SourceFiles, split: str = "train") -> list[str]:
    return [row.chosen for row in iter_pairs(source, split) if isinstance(row, Pair)]


def error(**settings: Any) -> str:
    def read() -> None:
        for source in locate(DataConfig(**settings)):
            list(iter_pairs(source, "train"))

    with pytest.raises(DataError) as raised:
        read()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_source_of_several_files(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_lines(tmp_path / f"{name}.jsonl", [record(name)])
    one, other = tmp_path / "b.jsonl", tmp_path / "a.jsonl"
    (listed,) = locate(DataConfig(sources=[f"mine={one},{other}"]))
    assert chosen(listed) == ["b", "a"]
    (matched,) = locate(DataConfig(sources=[f"mine={tmp_path}/*.jsonl"]))
    assert chosen(matched) == ["a", "b"]
    before = fingerprint(matched)
    write_lines(other, [record("longer")])
    assert fingerprint(matched) != before
    nothing = f"{tmp_path}/*.csv"
    assert error(sources=[f"mine={nothing}"]) == f"data.sources: no file matches {nothing}"


def test_files_of_a_pattern_are_never_both_trained_on_and_tested_on(tmp_path: Path) -> None:
    for name in ("a.train", "a.test", "b.train"):
        write_lines(tmp_path / f"{name}.jsonl", [record(name)])
    (source,) = locate(DataConfig(sources=[f"mine={tmp_path}/*.jsonl"]))
    assert chosen(source) == ["a.train", "b.train"]
    assert chosen(source, "test") == ["a.test"]


def test_a_file_with_a_comma_in_its_name(tmp_path: Path) -> None:
    write_lines(tmp_path / "a,b.jsonl", [record("both")])
    (source,) = locate(DataConfig(sources=[f"mine={tmp_path}/a,b.jsonl"]))
    assert chosen(source) == ["both"]


def test_a_column_gives_the_sources_of_a_file(tmp_path: Path) -> None:
    split = DataConfig(sources=[f"all={ANNOTATORS}"], columns={"all": {"source": "annotator"}})
    ann, bob = locate(split)
    assert (ann.name, bob.name) == ("ann", "bob_2")
    # What has no name belongs to the first, so that nothing is lost or counted twice.
    assert chosen(ann) == ["An apple.", "A plum.", "A fig."]
    assert chosen(bob) == ["A pear."]
    assert fingerprint(ann)[1:] != fingerprint(bob)[1:]
    assert ann.place == bob.place == str(ANNOTATORS)


def test_a_column_that_gives_no_sources(tmp_path: Path) -> None:
    where = {"sources": [f"all={ANNOTATORS}"]}
    assert error(**where, columns={"all": {"source": "nobody"}}) == (
        "data.columns.all.source: no record has a name at nobody"
    )
    many = tmp_path / "many.jsonl"
    write_lines(many, [{**record("a"), "by": number} for number in range(65)])
    assert error(sources=[f"all={many}"], columns={"all": {"source": "by"}}) == (
        "data.columns.all.source: by has more than 64 different values"
    )


def test_one_file_as_two_sources_by_two_labels() -> None:
    file = ANNOTATORS.with_name("two_labels.jsonl")
    better, safer = locate(
        DataConfig(
            sources=[f"better={file}", f"safer={file}"],
            columns={"safer": {"label": "safer_response_id"}},
        )
    )
    assert (chosen(better), chosen(safer)) == (["An apple."], ["A stone."])


def test_values_of_one_name(tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.jsonl"
    write_lines(mixed, [{**record(str(by)), "by": by} for by in (1, 2.0, "1", 1.0, 2)])
    split = {"columns": {"all": {"source": "by"}}}
    one, two = locate(DataConfig(sources=[f"all={mixed}"], **split))
    assert (one.name, two.name) == ("1", "2")
    assert (chosen(one), chosen(two)) == (["1", "1", "1.0"], ["2.0", "2"])
    alike = tmp_path / "alike.jsonl"
    write_lines(alike, [{**record("a"), "by": by} for by in ("a b", "a/b")])
    assert error(sources=[f"all={alike}"], **split) == (
        "data.columns.all.source: 'a b' and 'a/b' at by are both called a_b"
    )


def test_a_tree_over_two_files(tmp_path: Path) -> None:
    lines = ANNOTATORS.with_name("trees.jsonl").read_text().splitlines(keepends=True)
    whole = [json.loads(line) for line in lines]
    for name, part in (("a", lines[:2]), ("b", lines[2:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(part))
    (source,) = locate(DataConfig(sources=[f"mine={tmp_path}/*.jsonl"]))
    pairs = list(iter_pairs(source, "train"))
    assert [replace(row, record=None) for row in pairs if isinstance(row, Pair)] == [
        replace(pair, record=None) for pair in kept(whole, None)
    ]
    assert len({pair.record for pair in pairs if isinstance(pair, Pair)}) == 1


def test_rated_rows_over_two_files(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Name a fruit.", "response": response, "helpfulness": rating}
        for response, rating in (("a", 1), ("b", 2), ("c", 3))
    ]
    write_lines(tmp_path / "a.jsonl", rows[:1])
    write_lines(tmp_path / "b.jsonl", [*rows[1:], {**rows[0], "prompt": "Name a tree."}])
    write_lines(tmp_path / "c.jsonl", [record("d")])
    (source,) = locate(DataConfig(sources=[f"mine={tmp_path}/*.jsonl"]))
    assert chosen(source) == ["b", "c", "c", "d"]


@pytest.mark.parametrize("separate_test", [False, True])
def test_columns_that_some_files_lack(tmp_path: Path, separate_test: bool) -> None:
    train = tmp_path / "a.train.jsonl"
    other = tmp_path / ("a.test.jsonl" if separate_test else "b.train.jsonl")
    write_lines(train, [record("a")])
    write_lines(other, [record("b"), {**record("c"), "sure": 2, "by": "x"}])
    where: dict[str, Any] = {"sources": [f"mine={tmp_path}/*.train.jsonl"]}
    columns = {"margin": "sure", "prompt": "prompt"}
    (source,) = locate(DataConfig(**where, columns={"mine": columns}))
    splits = ("train", "test") if has_test(source) else ("train",)
    read = [row for split in splits for row in iter_pairs(source, split)]
    assert [row.margin for row in read if isinstance(row, Pair)] == [None, None, 2]
    wrong = error(**where, columns={"mine": {"margin": "shure"}})
    assert wrong == (
        f"{train.as_uri()}, {other.as_uri()}: data.columns: no record has shure; the first has "
        "chosen, prompt, rejected"
    )


def test_columns_that_only_some_sources_of_a_file_have(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    write_lines(file, [{**record("a"), "by": "x"}, {**record("b"), "by": "y", "sure": 2}])
    columns = {"all": {"source": "by", "margin": "sure"}}
    x, y = locate(DataConfig(sources=[f"all={file}"], columns=columns))
    assert (chosen(x), chosen(y)) == (["a"], ["b"])


def test_a_folder_with_an_equals_sign(tmp_path: Path) -> None:
    folder = tmp_path / "k=v"
    folder.mkdir()
    write_lines(folder / "x.jsonl", [record("a")])
    named, plain = locate(DataConfig(sources=[f"mine={folder}/x.jsonl", f"{folder}/x.jsonl"]))
    assert (named.name, plain.name) == ("mine", "x")
    assert chosen(named) == chosen(plain) == ["a"]


def test_one_file_has_one_place_however_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    write_lines(file, [record("a")])
    entries = [f"a={file}", f"b={file.as_uri()}", f"c={tmp_path}/*.jsonl"]
    assert {source.place for source in locate(DataConfig(sources=entries))} == {str(file)}


def test_a_folder_of_the_hub_has_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    near, far = locate(DataConfig(sources=["a=hub:mine", f"b=hub:{tmp_path}/mine"]))
    assert near.place == far.place == f"hub:{tmp_path}/mine:train"
    (there,) = locate(DataConfig(sources=["a=hub:ORG/NAME"]))
    assert there.place == "hub:ORG/NAME:train"


def test_columns_that_are_not_there() -> None:
    where = {"sources": [f"mine={ANNOTATORS}"]}
    assert error(**where, columns={"mine": {"margin": "by.much", "prompt": "prompt"}}) == (
        f"{ANNOTATORS}: data.columns: no record has by.much; the first has annotator, chosen, "
        "prompt, rejected"
    )
    assert error(**where, columns={"yours": {"prompt": "prompt"}}) == (
        "data.columns: no source yours; there are mine"
    )


def test_a_folder_that_datasets_loads_as_it_loads_the_hub(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", [record("one"), {**record("two"), "note": "x"}])
    write_lines(tmp_path / "test.jsonl", [record("three")])
    train, test = locate(DataConfig(sources=[f"mine=hub:{tmp_path}", f"other=hub:{tmp_path}:test"]))
    assert (chosen(train), chosen(test)) == (["one", "two"], ["three"])
    assert not has_test(train)
    (both,) = locate(DataConfig(sources=[f"mine=hub:{tmp_path}?test=test"]))
    assert has_test(both)
    assert (chosen(both), chosen(both, "test")) == (["one", "two"], ["three"])
    before = fingerprint(train)
    assert before[1:] != fingerprint(test)[1:]
    write_lines(tmp_path / "train.jsonl", [record("another")])
    assert fingerprint(train) != before
    assert error(sources=[f"mine=hub:{tmp_path}:nope"]).startswith(
        f"source mine: cannot read {tmp_path} from the hub: "
    )


def test_addresses_on_the_hub() -> None:
    whole = "hub:ORG/NAME@main:test?config=en&data_dir=some+folder&test=validation"
    parsed = parse_hub(whole)
    assert (parsed.path, parsed.revision, parsed.train) == ("ORG/NAME", "main", "test")
    assert parsed.test == "validation"
    assert (parsed.config, parsed.data_dir) == ("en", "some folder")
    assert str(parsed) == whole
    assert str(parse_hub("hub:ORG/NAME")) == "hub:ORG/NAME:train"
    for wrong in ("hub:", "hub:a?split=test", "hub:a@:test"):
        assert error(sources=[f"x={wrong}"]).startswith(f"data.sources: got {wrong}, allowed: hub:")
    for nameless in ("hub:a", "hub:a?config=en", "hub:ORG/NAME?config=en"):
        assert error(sources=[nameless]) == (
            f"data.sources: {nameless} has no name; allowed: name={nameless}"
        )


def test_what_a_file_was_taken_for() -> None:
    (source,) = locate(
        DataConfig(sources=[f"mine={ANNOTATORS}"], columns={"mine": {"subset": "annotator"}})
    )
    rows = [("row 0", {**record("a"), "annotator": "ann", "note": "x"})]
    seen = look(rows, source.how)
    assert seen.shapes == {"chosen, rejected, subset=annotator"}
    assert seen.unread == {"note"}
    by_annotator = HowToRead({"source": "annotator"}, frozenset({"ann"}))
    assert look(rows, by_annotator).unread == {"note"}
    assert look(rows).shapes == {"chosen, rejected"}
    assert look(rows).unread == {"annotator", "note"}


RANKED = [
    {
        "prompt": f"Question {number}?",
        "responses": ["a", "b", "c", "d"],
        "scores": [1, 2, 3, 3],
    }
    for number in range(30)
]


def kept(records: list[dict[str, Any]], limit: int | None, seed: int = 0) -> list[Pair]:
    rows = [(f"row {number}", entry) for number, entry in enumerate(records)]
    how = HowToRead(pairs_per_prompt=limit, seed=seed)
    return [row for row in read_pairs(rows, "mine", "here", how) if isinstance(row, Pair)]


@given(st.integers(1, 7), st.randoms())
@settings(deadline=None)
def test_pairs_of_a_prompt_are_limited_whatever_the_order(limit: int, random: Any) -> None:
    some = kept(RANKED, limit)
    assert len(some) == 30 * min(limit, 6)
    assert (limit >= 6) == any(pair.share == 0.5 for pair in some)  # ties come last
    mixed = list(RANKED)
    random.shuffle(mixed)
    # Each record is elsewhere.
    again, same = ([replace(one, record=None) for one in of] for of in (kept(mixed, limit), some))
    assert sorted(map(repr, again)) == sorted(map(repr, same))


def test_which_pairs_are_kept_depends_on_the_seed_and_the_prompt() -> None:
    first, again, other = kept(RANKED, 1), kept(RANKED, 1), kept(RANKED, 1, seed=1)
    assert first == again != other
    assert len({(pair.chosen, pair.rejected) for pair in first}) > 1


def test_pairs_of_trees_are_limited_too() -> None:
    lines = ANNOTATORS.with_name("trees.jsonl").read_text().splitlines()
    assert len(kept([json.loads(line) for line in lines], 2)) == 2
