"""How likely a policy finds the answers that people preferred.

Legend: N answers of one source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from more_ray.metrics.evaluation import Evaluation, SourceMeasures
from more_ray.metrics.intervals import interval, replicates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Likelihoods:
    """Arrays `[N]`; `nll_N` is the negative log-likelihood of an answer in nats."""

    pair_N: NDArray[np.integer]
    nll_N: NDArray[np.floating]
    tokens_N: NDArray[np.integer]


def perplexity(nll_N: Floats, tokens_N: Floats) -> float:
    """`exp` of the mean over all tokens: long answers weigh more."""
    return float(np.exp(nll_N.sum() / tokens_N.sum()))


def answer_perplexity(nll_N: Floats, tokens_N: Floats) -> float:
    """The mean of the answers' own perplexities, which a few very unlikely answers dominate."""
    return float(np.exp(nll_N / tokens_N).mean())


MEASURES = {"perplexity": perplexity, "answer_perplexity": answer_perplexity}


def summarise_likelihoods(
    likelihoods: Mapping[str, Likelihoods],
    scheme: str,
    step: int | None,
    seed: int,
    resamples: int = 1_000,
) -> Evaluation:
    """The content of the `eval.json` of a policy.

    `KEY_ci` is a 95% bootstrap interval over answers, of the logarithm. `outliers` counts the
    answers whose own perplexity is above Tukey's fence (1.5 interquartile ranges of its logarithm
    above the third quartile); `median_perplexity` is robust against them. The mean is the plain
    mean over sources.

    Raises:
        ValueError: a source without answers, or a likelihood that is not finite.
    """
    sources = {
        name: _measure(name, source, seed, resamples)
        for name, source in sorted(likelihoods.items())
    }
    keys = [*MEASURES, "median_perplexity"]
    mean = {key: fmean(source[key] for source in sources.values()) for key in keys}
    mean |= {"n": sum(source["n"] for source in sources.values())}
    return {"scheme": scheme, "step": step, "seed": seed, "sources": sources, "mean": mean}


def _measure(name: str, one: Likelihoods, seed: int, resamples: int) -> SourceMeasures:
    nll_N, tokens_N = one.nll_N.astype(np.float64), one.tokens_N.astype(np.float64)
    if not len(nll_N):
        raise ValueError(f"{name}: no test answers")
    if not np.isfinite(nll_N).all():
        raise ValueError(f"{name}: a likelihood is not finite")
    drawn = replicates(MEASURES, (nll_N, tokens_N), seed, resamples)
    own_N = nll_N / tokens_N
    first, third = np.quantile(own_N, [0.25, 0.75])
    result: SourceMeasures = {"n": len(nll_N), "tokens": int(tokens_N.sum())}
    for key, measure in MEASURES.items():
        result[key] = measure(nll_N, tokens_N)
        result[f"{key}_ci"] = np.exp(interval(np.log(result[key]), np.log(drawn[key]))).tolist()
    result["median_perplexity"] = float(np.exp(np.median(own_N)))
    result["outliers"] = int((own_N > third + 1.5 * (third - first)).sum())
    return result
