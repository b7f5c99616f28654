"""Settings of the data: which sources, how many pairs, how they are prepared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, TypeVar

from annotated_types import Ge, Gt
from pydantic import Discriminator, Field, Tag, model_validator

from more_ray.config.base import MayChange, Section, Seed

T = TypeVar("T")
Each = Annotated[
    Annotated[T, Tag("one")] | Annotated[list[T], Tag("list")],
    # Told apart by what is given: a plain union reports a mistake once for each of its members.
    Discriminator(lambda given: "one" if isinstance(given, int | float | str) else "list"),
]
"""One value for all populations, or a list with a value for each."""


Number = TypeVar("Number", int, float)


def each(given: Number | Sequence[Number], sources: int) -> Sequence[Number]:
    """A value for each source: the one that is given for all, or the given ones.

    Raises:
        ValueError: they are not as many as the sources.
    """
    if not isinstance(given, Sequence):
        return [given] * sources
    if len(given) != sources:
        raise ValueError(f"got {len(given)} values, allowed: one for all, or {sources}")
    return given


class SimulatorConfig(Section):
    sources: int = Field(5, ge=1, le=64)
    """Annotator populations to simulate: K, called population_1, population_2, ... Those that
    `data.train_on` does not name are kept out of training and of a calibration's fit, and are
    evaluated all the same."""
    pairs: Each[Annotated[int, Ge(2)]] = 1_500
    """Training pairs of each population: one number for all, or a list of K."""
    test_pairs: Each[Annotated[int, Ge(2)]] = 500
    """Test pairs of each population: one number for all, or a list of K."""
    drift: Each[Annotated[float, Ge(0)]] = 0.8
    """Size of each population's own drift, relative to the shared reward (4): one for all, or a
    list of K. A population without drift has exactly the shared reward."""
    noise: Each[Annotated[float, Gt(0)]] = 1.0
    """Temperature of the Bradley-Terry labels, one for all, or a list of K; 1 is the model's own
    noise."""
    seed: Seed = 0
    """Seed of the populations and of their pairs."""
    votes: int = Field(0, ge=0)
    """People of a population who are asked about each pair: the answer that most prefer is chosen,
    and soft labels know their share. 0: a single label, as with 1."""

    @model_validator(mode="after")
    def _a_value_for_each_population(self) -> SimulatorConfig:
        for key in ("pairs", "test_pairs", "drift", "noise"):
            try:
                each(getattr(self, key), self.sources)
            except ValueError as error:
                raise ValueError(
                    f"data.simulator.{key}: {error} (data.simulator.sources)"
                ) from error
        return self


Column = Literal[
    "prompt",
    "system",
    "history",
    "answers",
    "chosen",
    "rejected",
    "label",
    "scores",
    "ranks",
    "votes",
    "strength",
    "margin",
    "weight",
    "subset",
    "source",
]
VERDICTS = {"label", "scores", "ranks", "votes", "strength"}
FOR_EACH_ANSWER = {"answers", "scores", "ranks", "votes"}
"""What may have a column for each answer."""


class DataConfig(Section):
    renamed: ClassVar[dict[str, str]] = {"pairs_per_source": "max_pairs"}

    root: str | None = None
    """Folder (path or URI) of `<source>.<split>.parquet|jsonl|jsonl.gz|json|csv` files."""
    sources: list[str] = Field([])
    """Names in `root`, names on the hub (helpful, harmless, oasst1, webgpt, summarize;
    `helpful@COMMIT` pins a revision), paths or URIs, or `name=path`. A path may be several with
    commas between, or hold `*` and `?`. `name=hub:ORG/NAME` is any data set on the hub, or a folder
    that `datasets` loads: `hub:ORG/NAME@REVISION:SPLIT?config=CONFIG&data_dir=FOLDER&test=SPLIT`
    (of these all but the name may be left out; the split is train, and without `test` some prompts
    are held out). Empty: every source in `root`, or the simulator where root is unset."""
    columns: dict[str, dict[Column, str | list[str]]] = Field({})
    """Which column is what in a source, for files that are not read as they should be:
    `{NAME: {prompt: question, answers: [a, b], label: best}}`. Values are columns, or paths such as
    `info.post`, `responses.0.text` and `answers.*.rank`. Answers are `chosen` and `rejected`, or
    `answers` (a list, one path for each, or one in every row) with `label`, `scores`, `ranks`,
    `votes` (counts, or the share of the first) or `strength` (above 0: the second of two is
    better). A label is an answer's column or the end of its
    name, its letter, its place from 0, or tie. What is not given has its usual column. `source`
    makes a source of each value of a column, and NAME then stands for all of these."""
    train_on: list[str] = Field([])
    """Names of the sources to train on. Empty: all. All sources are evaluated."""
    simulator: SimulatorConfig = SimulatorConfig()
    """The built-in simulator, used when neither `root` nor `sources` is set."""
    pairs_per_prompt: int | None = Field(None, ge=1)
    """At most this many pairs of the answers that a record (or a message of a tree) ranks, a seeded
    choice, ties last. Null: every two answers."""
    max_pairs: int | None = Field(40_000, ge=1)
    """At most this many training pairs of a source, a seeded sample (the paper: 40,000)."""
    resample: bool = True
    """True: every source gives the same number of pairs (or prompts with ranked answers) per step
    and smaller sources are repeated (the paper). False: every pair once per epoch, each source in
    proportion to its size."""
    test_pairs: int | None = Field(2_000, ge=2)
    """At most this many test pairs of a source, a seeded sample."""
    test_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of prompts held out for testing where a source has no test file. An evaluation that
    does not set it scores such a file whole, unless the model was trained on it."""
    max_length: int = Field(512, ge=8)
    """Tokens of a prompt and its answer; longer ones lose their beginning."""
    on_leak: Literal["warn", "drop", "error"] = "warn"
    """What to do where a training pair has the prompt of a test pair of any source: warn, leave the
    training pair out, or stop."""
    max_reject_share: float = Field(0.3, ge=0, le=1)
    """Preparation fails where a larger share of a source's pairs is unusable; ties do not count."""
    seed: Seed = 0
    """Seed of sampling, shuffling and the test split."""
    prepared: MayChange[str] = "~/.cache/more_ray/prepared"
    """Folder (path or URI, shared by all nodes) of prepared data, reused by fingerprint."""

    @model_validator(mode="after")
    def _columns_that_fit_together(self) -> DataConfig:
        for name, columns in self.columns.items():
            key = f"data.columns.{name}"
            verdicts = columns.keys() & VERDICTS
            if len(verdicts) != 1 and "answers" in columns:
                raise ValueError(
                    f"{key}: answers need one of label, scores, ranks, votes, strength"
                )
            if len(verdicts) > 1 and verdicts != {"scores", "votes"}:
                both = ", ".join(sorted(verdicts))
                raise ValueError(f"{key}: got {both}, allowed: one of them, or scores and votes")
            if "answers" in columns and columns.keys() & {"chosen", "rejected"}:
                raise ValueError(f"{key}: either answers, or chosen and rejected, are allowed")
            if verdicts and "chosen" in columns and "rejected" not in columns:
                raise ValueError(f"{key}: {min(verdicts)} with chosen needs rejected, too")
            for column, paths in columns.items():
                if not isinstance(paths, str) and column not in FOR_EACH_ANSWER:
                    raise ValueError(f"{key}.{column}: got {paths}, allowed: one path")
        return self
