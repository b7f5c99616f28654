"""Score the answers of public test sets on Ray Data, each answer once.

Legend: N questions, A answers of one question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jinja2
import numpy as np
import pyarrow as pa
import torch

from more_ray import storage
from more_ray.config import DataConfig, EvaluationConfig
from more_ray.data.benchmarks import Benchmark, Question, without_lone_ties
from more_ray.data.formatting import NO_LIMIT, cut, encode, render, shared_prefix
from more_ray.data.packing import pack_answers
from more_ray.data.rejects import Reason, Reject
from more_ray.device import SCORING_TOKENS
from more_ray.errors import DataError, UserError
from more_ray.evaluate.actors import ScoringActor, device_of, scored_blocks
from more_ray.evaluate.pairs import batches_of_like_length
from more_ray.metrics.benchmarks import BenchmarkMeasures, Scored, summarise_benchmark
from more_ray.parquet import write_table
from more_ray.run_folder import BENCHMARK_SCORES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Encoded:
    """The tokens of a benchmark's answers, what was left out, and how many answers were cut."""

    benchmark: Benchmark
    questions: list[Question]
    answers: list[list[list[int]]]
    rejects: list[Reject]
    cut: int


def evaluate_benchmarks(
    benchmarks: Sequence[Encoded],
    config: EvaluationConfig,
    progress: Callable[[int, int], None],
) -> dict[str, BenchmarkMeasures]:
    """Score, write `benchmark_scores.parquet`, and return the measures by benchmark.

    Args:
        progress: called with the numbers of a benchmark's answers scored so far and of all.

    Raises:
        UserError: scores that are not finite.
    """
    results, tables = {}, []
    for one in benchmarks:
        benchmark = one.benchmark
        table = scores_table(benchmark, one.questions, score_answers(one.answers, config, progress))
        try:
            measures = summarise_table(table, config.seed, config.bins, config.resamples)
        except ValueError as error:
            raise UserError(f"benchmark {benchmark.name}: {error}") from error
        results[benchmark.name] = {
            "read_as": benchmark.read_as,
            "answers": len(table),
            "cut": one.cut,
            "rejected": dict(Counter(reject.reason.value for reject in one.rejects)),
            **measures,
        }
        tables.append(table)
    write_table(storage.join(config.output_dir, BENCHMARK_SCORES), pa.concat_tables(tables))
    return results


def encode_answers(
    benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, data: DataConfig
) -> Encoded:
    """The questions that the chat template renders, and the tokens of their answers.

    Raises:
        DataError: more rejects than `data.max_reject_share`.
    """
    rejects, texts = list(benchmark.rejects), {}
    for number, question in enumerate(benchmark.questions):
        try:
            texts[number] = [render(tokenizer, question.prompt, one) for one in question.answers]
        except jinja2.TemplateError as error:
            rejects.append(Reject(Reason.TEMPLATE, question.id, str(error)))
    rendered = [benchmark.questions[number] for number in texts]
    questions, lone = without_lone_ties(rendered)
    kept = set(map(id, questions))
    answers, too_long = [], 0
    for question, mine in zip(rendered, texts.values(), strict=True):
        if id(question) in kept:
            whole = encode(tokenizer, mine, NO_LIMIT)
            too_long += sum(len(tokens) > data.max_length for tokens in whole)
            answers.append([cut(tokenizer, tokens, data.max_length) for tokens in whole])
    encoded = Encoded(benchmark, questions, answers, rejects + lone, too_long)
    _check_rejects(benchmark.name, encoded, data.max_reject_share)
    return encoded


def _check_rejects(name: str, encoded: Encoded, most: float) -> None:
    reasons = Counter(reject.reason.value for reject in encoded.rejects)
    counted = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    share = len(encoded.rejects) / max(1, len(encoded.rejects) + len(encoded.questions))
    if not encoded.questions:
        raise DataError(f"benchmark {name}: no usable record" + (f"; {counted}" if counted else ""))
    if share > most:
        raise DataError(
            f"benchmark {name}: {share:.0%} of its records rejected ({counted}); "
            f"data.max_reject_share allows {most:.0%}"
        )


def score_answers(
    answers: Sequence[list[list[int]]],
    config: EvaluationConfig,
    progress: Callable[[int, int], None],
) -> list[np.ndarray]:
    """The scores `[A]` of the answers to each question, from their tokens."""
    limit = config.batch_tokens or SCORING_TOKENS[device_of(config)]
    rows = pa.table(_rows(answers, limit))
    blocks = [rows.take(batch) for batch in batches_of_like_length(rows["size"].to_numpy(), limit)]
    scores = [np.zeros(len(one), np.float32) for one in answers]
    done, total = 0, sum(map(len, answers))
    for batch in scored_blocks(AnswerScorer, blocks, config):
        columns = (batch["question"], batch["first"], batch["scores"])
        for question, first, score_A in zip(*columns, strict=True):
            scores[question][first : first + len(score_A)] = score_A
            done += len(score_A)
        progress(done, total)
    return scores


def _rows(answers: Sequence[list[list[int]]], limit: int) -> dict[str, list]:
    """A row for the answers to a question, or several where they are more than `limit` tokens."""
    rows: dict[str, list] = {"question": [], "first": [], "tokens": [], "size": []}
    for question, mine in enumerate(answers):
        at_once = max(1, limit // max(map(len, mine)))
        for first in range(0, len(mine), at_once):
            tokens = mine[first : first + at_once]
            shared = (len(tokens) - 1) * shared_prefix(*tokens)
            row = (question, first, tokens, sum(map(len, tokens)) - shared)
            for column, value in zip(rows.values(), row, strict=True):
                column.append(value)
    return rows


class AnswerScorer(ScoringActor):
    """Scores blocks of prompts with any number of answers each."""

    @torch.no_grad()
    def __call__(self, rows: pa.Table) -> pa.Table:
        answers = rows["tokens"].to_pylist()
        reward_A, _ = self._model.score(pack_answers(answers).to(self._device))
        scores = [part.tolist() for part in reward_A.cpu().split([len(one) for one in answers])]
        return rows.select(["question", "first"]).append_column(
            "scores", pa.array(scores, pa.list_(pa.float32()))
        )


def scores_table(
    benchmark: Benchmark, questions: Sequence[Question], scores: Sequence[np.ndarray]
) -> pa.Table:
    """Rows of `benchmark_scores.parquet`: one for each answer, right ones of a question first."""
    rows = [
        {
            "benchmark": benchmark.name,
            "kind": benchmark.kind,
            "question": number,
            "id": question.id,
            "prompt": question.group,
            "subset": question.subset,
            "answer": position,
            "right": position < len(question.right),
            "score": score,
            "characters": len(answer),
        }
        for number, (question, score_A) in enumerate(zip(questions, scores, strict=True))
        for position, (answer, score) in enumerate(zip(question.answers, score_A, strict=True))
    ]
    return pa.Table.from_pylist(rows, SCORES_SCHEMA)


def summarise_table(table: pa.Table, seed: int, bins: int, resamples: int) -> BenchmarkMeasures:
    """The measures of one benchmark from its rows of `benchmark_scores.parquet`.

    Raises:
        ValueError: scores that are NaN or infinite.
    """
    scored, lengths = (list(_scored(table, column)) for column in ("score", "characters"))
    return summarise_benchmark(table["kind"][0].as_py(), scored, lengths, seed, bins, resamples)


def _scored(table: pa.Table, column: str) -> Iterator[Scored]:
    """Each question, with the values of a column for its answers."""
    value_A = table[column].to_numpy().astype(np.float64)
    right_A = table["right"].to_numpy()
    _, first_N = np.unique(table["question"].to_numpy(), return_index=True)
    for mine, names in zip(
        np.split(np.arange(len(table)), first_N[1:]),
        table.select(["id", "prompt", "subset"]).take(first_N).to_pylist(),
        strict=True,
    ):
        right, wrong = value_A[mine][right_A[mine]], value_A[mine][~right_A[mine]]
        yield Scored(names["id"], names["prompt"], names["subset"], right, wrong)


SCORES_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("kind", pa.string()),
        ("question", pa.int32()),
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("subset", pa.string()),
        ("answer", pa.int32()),
        ("right", pa.bool_()),
        ("score", pa.float32()),
        ("characters", pa.int32()),
    ]
)
