"""Readers of public test sets, whose questions have right and wrong answers.

RewardBench 2: `chosen` and `rejected` are lists of texts; `id` in the subset Ties is `tied:N` or
`ref:N`. RM-Bench: lists of three texts each, by style, and no `num_correct`. JudgeBench:
`question`, `response_A`, `response_B`, and `label`, which is `A>B` or `B>A`. LLMBar: `input`,
`output_1`, `output_2`, `label` (1 or 2). HHH: `input` and `targets` with two `choices` and their
`labels`, 1 and 0. Any other file is read as pairs, in every shape that training reads, such as
`prompt, chosen, rejected, subset`.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from more_ray.data.files import read_file, read_records
from more_ray.data.messages import Message, to_prompt
from more_ray.data.records import Pair
from more_ray.data.rejects import InvalidRecord, Reason, Reject, items, name_of, text, wrong_type
from more_ray.data.shapes import Record
from more_ray.data.sources import name_and_address
from more_ray.errors import DataError
from more_ray.metrics.benchmarks import TIES, Kind

JUDGEBENCH_SUBSETS = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}
"""By the beginning of `source`."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt of a test set with its answers.

    `group` names what is resampled together: the prompt, or the N of `tied:N` and `ref:N`.
    """

    id: str
    group: str
    prompt: tuple[Message, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    subset: str | None

    @property
    def answers(self) -> tuple[str, ...]:
        """The right answers, then the wrong ones."""
        return self.right + self.wrong


@dataclass(frozen=True)
class Benchmark:
    """A test set as it was read."""

    name: str
    read_as: str
    kind: Kind
    questions: list[Question]
    rejects: list[Reject]


@dataclass(frozen=True)
class Shape:
    """The records of a test set: which they are, and how to read one.

    `fields` returns prompt, right, wrong and subset of a `Question`; it raises `InvalidRecord`.
    """

    title: str
    kind: Kind
    fits: Callable[[Record], bool]
    fields: Callable[[Record], Record]


def read_benchmarks(entries: Sequence[str]) -> list[Benchmark]:
    """The test sets in files: paths or URIs, or `name=path`.

    Raises:
        DataError: a missing file, records of no known shape, or a name that is given twice.
    """
    named = [_named(entry) for entry in entries]
    for name, count in Counter(name for name, _ in named).items():
        if count > 1:
            raise DataError(f"benchmark: {name} is given twice; name=path gives another name")
    return [read_benchmark(name, url) for name, url in named]


def read_benchmark(name: str, url: str) -> Benchmark:
    """The test set in a file, in the shape of its first record; raises as `read_benchmarks`."""
    shape = _recognise(url)
    found = list(_questions(shape, url) if shape else _pairs(name, url))
    return Benchmark(
        name,
        shape.title if shape else "pairs",
        shape.kind if shape else "pairs",
        [one for one in found if isinstance(one, Question)],
        [one for one in found if isinstance(one, Reject)],
    )


def without_lone_ties(questions: Sequence[Question]) -> tuple[list[Question], list[Reject]]:
    """The questions without those of Ties whose other half, `tied:N` or `ref:N`, is missing."""
    times = Counter(one.id for one in questions if one.subset == TIES)

    def is_lone(one: Question) -> bool:
        halves = (times[f"{half}:{one.group}"] for half in ("tied", "ref"))
        return one.subset == TIES and set(halves) != {1}

    kept = [one for one in questions if not is_lone(one)]
    lone = [one for one in questions if is_lone(one)]
    detail = "the subset Ties needs one tied:N and one ref:N for each N"
    return kept, [Reject(Reason.MISSING, one.id, detail) for one in lone]


def _named(entry: str) -> tuple[str, str]:
    name, url = name_and_address(entry)
    return posixpath.basename(url).split(".")[0] if name is None else name, url


def _recognise(url: str) -> Shape | None:
    """None for pairs and anything else."""
    with closing(read_records(url)) as rows:
        first = next((row[1] for row in rows if not isinstance(row, Reject)), {})
    return next((shape for shape in SHAPES if shape.fits(first)), None)


def _pairs(name: str, url: str) -> Iterator[Question | Reject]:
    for number, pair in enumerate(read_file(url, name)):
        if isinstance(pair, Reject):
            yield pair
        elif refused := _refused(pair):
            yield refused.at(f"{url} pair {number}")
        else:
            group = _group(pair.prompt)
            answers = (pair.chosen,), (pair.rejected,)
            yield Question(str(number), group, pair.prompt, *answers, pair.subset)


def _refused(pair: Pair) -> InvalidRecord | None:
    if not pair.rejected:
        return InvalidRecord(Reason.EMPTY, "rejected has no answer")
    if pair.share == 0.5:
        return InvalidRecord(Reason.TIE, "half of the votes each")
    return None


def _questions(shape: Shape, url: str) -> Iterator[Question | Reject]:
    for number, row in enumerate(read_records(url)):
        if isinstance(row, Reject):
            yield row
            continue
        where, record = row
        try:
            yield _question(shape, record, number)
        except InvalidRecord as invalid:
            yield invalid.at(where)
        except KeyError as error:
            yield Reject(Reason.MISSING, where, str(error.args[0]))


def _question(shape: Shape, record: Record, number: int) -> Question:
    fields = shape.fields(record)
    prompt = to_prompt(fields["prompt"])
    right, wrong = (_answers(fields[side], side) for side in ("right", "wrong"))
    identity = record.get("id", record.get("pair_id"))
    identity = str(number) if identity is None else name_of(identity, "id")
    subset = None if fields["subset"] is None else name_of(fields["subset"], "subset")
    group = _group(prompt)
    if shape.kind == "best_of_n" and subset == TIES:
        half, _, group = identity.partition(":")
        if half not in ("tied", "ref") or not group:
            raise InvalidRecord(Reason.WRONG_TYPE, f"id {identity}, allowed: tied:N or ref:N")
    return Question(identity, group, prompt, right, wrong, subset)


def _answers(value: Any, name: str) -> tuple[str, ...]:
    answers = tuple(text(answer, f"a {name} answer").strip() for answer in items(value, name))
    if not answers or "" in answers:
        raise InvalidRecord(Reason.EMPTY, f"no {name} answer")
    return answers


def _group(prompt: tuple[Message, ...]) -> str:
    return hashlib.blake2b(json.dumps(prompt).encode(), digest_size=8).hexdigest()


def _has_lists(record: Record) -> bool:
    return all(_are_texts(record.get(side)) for side in ("chosen", "rejected"))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(answer, str) for answer in value)


def _is_rm_bench(record: Record) -> bool:
    three = _has_lists(record) and len(record["chosen"]) == len(record["rejected"]) == 3
    return three and "num_correct" not in record


def _lists(record: Record) -> Record:
    return {
        "prompt": record["prompt"],
        "right": record["chosen"],
        "wrong": record["rejected"],
        "subset": record.get("subset"),
    }


def _rm_bench(record: Record) -> Record:
    fields = _lists(record)
    if not all(len(items(fields[side], side)) == 3 for side in ("right", "wrong")):
        raise InvalidRecord(Reason.WRONG_TYPE, "three answers of each side are needed, by style")
    domain = record.get("domain")
    if domain is None:
        return fields
    # `safety-refuse` and `safety-response` are one domain.
    return fields | {"subset": text(domain, "domain").split("-")[0]}


def _judgebench(record: Record) -> Record:
    label = record["label"]
    if label not in ("A>B", "B>A"):
        raise InvalidRecord(Reason.WRONG_TYPE, f"label {label}, allowed: A>B or B>A")
    right, wrong = label.split(">")
    source = record.get("source")
    known = (
        name
        for beginning, name in JUDGEBENCH_SUBSETS.items()
        if isinstance(source, str) and source.startswith(beginning)
    )
    return {
        "prompt": record["question"],
        "right": [record[f"response_{right}"]],
        "wrong": [record[f"response_{wrong}"]],
        "subset": next(known, source),
    }


def _llmbar(record: Record) -> Record:
    label = str(record["label"])
    if label not in ("1", "2"):
        raise InvalidRecord(Reason.WRONG_TYPE, f"label {label}, allowed: 1 or 2")
    wrong = "2" if label == "1" else "1"
    return {
        "prompt": record["input"],
        "right": [record[f"output_{label}"]],
        "wrong": [record[f"output_{wrong}"]],
        "subset": record.get("subset"),
    }


def _hhh(record: Record) -> Record:
    targets = record["targets"]
    if not isinstance(targets, dict):
        raise wrong_type("targets", "choices and labels", targets)
    choices, labels = (items(targets[key], key) for key in ("choices", "labels"))
    if len(choices) != 2 or sorted(map(str, labels)) != ["0", "1"]:
        raise InvalidRecord(Reason.WRONG_TYPE, "two choices are allowed, with the labels 1 and 0")
    right = [str(label) for label in labels].index("1")
    return {
        "prompt": record["input"],
        "right": [choices[right]],
        "wrong": [choices[1 - right]],
        "subset": record.get("subset"),
    }


def _has_targets(record: Record) -> bool:
    targets = record.get("targets")
    return "input" in record and isinstance(targets, dict) and {"choices", "labels"} <= set(targets)


SHAPES = (
    Shape("RM-Bench", "rm_bench", _is_rm_bench, _rm_bench),
    Shape("RewardBench 2", "best_of_n", _has_lists, _lists),
    Shape(
        "JudgeBench",
        "pairs",
        lambda record: record.keys() >= {"question", "response_A", "response_B", "label"},
        _judgebench,
    ),
    Shape(
        "LLMBar",
        "pairs",
        lambda record: record.keys() >= {"input", "output_1", "output_2", "label"},
        _llmbar,
    ),
    Shape("HHH", "pairs", _has_targets, _hhh),
)
