"""Score test pairs with any reward model on Ray Data, and say how good it is.

Legend: N test pairs of all sources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from more_ray import storage
from more_ray.config import DataConfig, EvaluationConfig
from more_ray.data.benchmarks import read_benchmarks
from more_ray.data.hub import HUB_SOURCES
from more_ray.data.prepare import prepare
from more_ray.data.prepared import Prepared
from more_ray.data.sources import has_test, locate
from more_ray.device import SCORING_TOKENS
from more_ray.errors import UserError
from more_ray.evaluate.actors import ScoringActor, device_of, scored_blocks
from more_ray.evaluate.benchmarks import encode_answers, evaluate_benchmarks
from more_ray.evaluate.files import read_scores, write_scores
from more_ray.evaluate.pairs import EvaluationPairs, pack_rows
from more_ray.metrics.evaluation import Evaluation
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import compare, summarise
from more_ray.model.loading import check_reward_model, load_reward_tokenizer
from more_ray.run_folder import CONFIG, SCORES, data_of, learnt_with, write_evaluation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def evaluate(
    config: EvaluationConfig,
    preparing: Callable[[int], None] = lambda pairs: None,
    scoring: Callable[[int, int], None] = lambda done, pairs: None,
    answering: Callable[[int, int], None] = lambda done, answers: None,
) -> Evaluation:
    """Score, write the scores and `eval.json`, and return the latter's content.

    Scores of pairs go to `scores.parquet`, those of `config.benchmark` to
    `benchmark_scores.parquet`. With `config.against`, `against` holds the differences from that
    model. Without pairs, `sources` and `mean` are empty.

    Args:
        preparing: called with the number of pairs prepared so far.
        scoring: called with the numbers of pairs scored so far and of all pairs.
        answering: called with the numbers of a benchmark's answers scored so far and of all.

    Raises:
        DataError, ModelError: the inputs cannot be used.
        UserError: scores that are not finite, or a model to compare with that was scored on
            other pairs.
    """
    check_reward_model(config.model, config.data.max_length)
    if storage.exists(storage.join(config.output_dir, CONFIG)):
        raise UserError(
            f"output_dir: {config.output_dir} holds a run or a calibration, and would lose its own "
            "evaluation; choose another folder"
        )
    benchmarks = read_benchmarks(config.benchmark)
    tokenizer = load_reward_tokenizer(config.model, config.data.max_length)
    encoded = [encode_answers(one, tokenizer, config.data) for one in benchmarks]
    result: Evaluation = (
        _evaluate_pairs(config, tokenizer, preparing, scoring)
        if config.scores_pairs
        else {
            "scheme": _name(config),
            "step": None,
            "bins": config.bins,
            "sources": {},
            "mean": {},
        }
    )
    if benchmarks:
        result["benchmarks"] = evaluate_benchmarks(encoded, config, answering)
    write_evaluation(config.output_dir, result)
    return result


def _evaluate_pairs(
    config: EvaluationConfig,
    tokenizer: PreTrainedTokenizerBase,
    preparing: Callable[[int], None],
    scoring: Callable[[int, int], None],
) -> Evaluation:
    others = _read_scores(config.against) if config.against else None
    data, whole = _split(config)
    prepared = prepare(data, tokenizer, preparing, whole=whole, soft=config.labels == "soft")
    scores = score(prepared, config, scoring)
    try:
        result = summarise(scores, _name(config), None, config.seed, config.bins, config.resamples)
        if others and config.against:
            differences = compare([scores], [others], config.seed, config.bins, config.resamples)
            result["against"] = {"path": config.against, **differences}
    except ValueError as error:
        raise UserError(str(error)) from error
    write_scores(scores, config.output_dir)
    return result


def _split(config: EvaluationConfig) -> tuple[DataConfig, list[str]]:
    """Separate sources without a test file into those that the model learnt from and the others.

    Of the former only what was held out of training is scored; the latter are scored whole.

    Returns:
        the data, with the split of the run that learnt from the former; the names of the latter.
    """
    data = config.data
    if "test_fraction" in data.model_fields_set or not (data.sources or data.root):
        return data, []
    files = {
        source.name: set(source.place.split(",")) for source in locate(data) if not has_test(source)
    }
    learnt: set[str] = set()
    path: str | None = config.model.path
    while path and (found := learnt_with(path)):
        # Earlier versions wrote none for the paper's data sets on the hub, and some of the others
        # as URIs.
        learnt_from = [
            source.get("file") or str(HUB_SOURCES.get(name, ""))
            for name, source in data_of(path).items()
        ]
        known = {file.removeprefix("file://") for one in learnt_from for file in one.split(",")}
        # Runs of earlier versions do not say which files they read.
        if mine := {name for name, of in files.items() if of & known or not learnt_from}:
            learnt |= mine
            of_run = found[0]
            data = data.changed(test_fraction=of_run["test_fraction"], seed=of_run["seed"])
        path = found[1]
    return data, [name for name in files if name not in learnt]


def score(
    prepared: Prepared, config: EvaluationConfig, progress: Callable[[int, int], None]
) -> dict[str, SourceScores]:
    """Score all test pairs; returns their scores by source."""
    pairs = EvaluationPairs(prepared, config.batch_tokens or SCORING_TOKENS[device_of(config)])
    blocks = [pairs.table.take(rows).append_column("row", pa.array(rows)) for rows in pairs.batches]
    score_N2 = np.zeros((len(pairs.table), 2), dtype=np.float32)
    done = 0
    for batch in scored_blocks(PairScorer, blocks, config):
        score_N2[batch["row"]] = np.stack([batch["chosen"], batch["rejected"]], axis=1)
        done += len(batch["row"])
        progress(done, len(pairs.table))
    return pairs.scores(score_N2)


class PairScorer(ScoringActor):
    """Scores blocks of pairs."""

    @torch.no_grad()
    def __call__(self, rows: pa.Table) -> pa.Table:
        reward_N2, _ = self._model(pack_rows(rows).to(self._device))
        chosen_N, rejected_N = reward_N2.cpu().numpy().T
        return pa.table({"row": rows["row"], "chosen": chosen_N, "rejected": rejected_N})


def _name(config: EvaluationConfig) -> str:
    if config.name:
        return config.name
    parts = [part for part in config.model.path.split("/") if part not in ("", "model")]
    return parts[-1] if parts else config.model.path


def _read_scores(folder: str) -> dict[str, SourceScores]:
    uri = storage.join(folder, SCORES)
    try:
        return read_scores(folder)
    except FileNotFoundError as error:
        raise UserError(f"against: no file {uri}") from error
    except (KeyError, pa.ArrowException) as error:
        raise UserError(f"against: {uri} holds no scores to compare with") from error
