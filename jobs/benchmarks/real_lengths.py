"""Batches of random tokens as long as real pairs are.

python jobs/benchmarks/real_lengths.py data.root=FOLDER pairs_per_source=16 steps=11

writes the lengths of the first batches that training would see to `real_lengths.json`, a line a
batch: of each pair the tokens that both answers share, then those of the chosen and of the
rejected one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from more_ray.cli import load_config
from more_ray.data.formatting import shared_prefix

FILE = Path(__file__).with_suffix(".json")
LONGEST = 512
"""Tokens of the longest answer in the file, with what it shares."""
SPECIAL = 10
"""Token numbers below are left to padding and its kin."""

Pairs = list[tuple[list[int], list[int]]]
"""The chosen and rejected tokens of each pair of a batch."""


def main() -> None:
    from reward_step import StepBenchmark, read_batches

    batches = read_batches(load_config(StepBenchmark, sys.argv[1:], __doc__ or ""))
    lengths = [[_lengths(*pair) for pair in batch] for batch in batches]
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, lengths)) + "\n]\n")


def _lengths(chosen: list[int], rejected: list[int]) -> tuple[int, int, int]:
    shared = shared_prefix(chosen, rejected)
    return shared, len(chosen) - shared, len(rejected) - shared


def random_batches(
    steps: int, pairs_per_source: int, max_length: int, vocabulary: int, sources: int = 5
) -> list[Pairs]:
    """The first pairs of each source of each batch, their lengths scaled to `max_length`."""
    rng = np.random.default_rng(0)
    batches: list[Pairs] = []
    for lengths in json.loads(FILE.read_text())[:steps]:
        by_source = np.array(lengths).reshape(sources, -1, 3)[:, :pairs_per_source]
        scaled = np.maximum(by_source.reshape(-1, 3) * max_length // LONGEST, 1)
        batches.append([_pair(rng, vocabulary, *lengths) for lengths in scaled])
    return batches


def padded_tokens(pairs: Pairs) -> int:
    """Two rows a pair, each as long as the longest of the batch."""
    return 2 * len(pairs) * max(len(sequence) for pair in pairs for sequence in pair)


def _pair(
    rng: np.random.Generator, vocabulary: int, shared: int, chosen: int, rejected: int
) -> tuple[list[int], list[int]]:
    prompt, *answers = (
        rng.integers(SPECIAL, vocabulary, length).tolist() for length in (shared, chosen, rejected)
    )
    # The answers differ from their first token on.
    answers[1][0] = SPECIAL + (answers[0][0] + 1 - SPECIAL) % (vocabulary - SPECIAL)
    return prompt + answers[0], prompt + answers[1]


if __name__ == "__main__":
    main()
