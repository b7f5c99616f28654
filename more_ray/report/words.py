"""The words that pages use and explain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from more_ray.report.drawing import Rows

WORDS = {
    "MORE": "A model trained on all sources at once, which weighs them anew at each step so that "
    "the step helps all of them.",
    "MultiTask": "A model trained on all sources at once, every pair counting the same.",
    "Averaging": "The mean of the scores of models that were each trained on one source.",
    "untrained": "The model as it was before training.",
    "head": "The last layer, which turns what the model has read into a reward. Each source may "
    "have a head of its own.",
    "shared": "The head that all sources have in common.",
    "drift": "What a source's own head adds to the shared one.",
    "one head for all": "MultiTask with a temperature for each source.",
    "temperature": "What reward differences are divided by: it makes probabilities more or less "
    "sure, and changes no ranking.",
    "lam": "What a source counts in a step of training.",
    "reward model": "A model that says how good an answer is.",
    "policy": "A model that writes answers.",
    "base": "The policy before it was aligned.",
    "worst": "Chosen to please the source that an answer pleases least.",
    "nash": "Chosen so that the product of the sources' gains is largest.",
    "front": "The configurations that no other beats in both accuracy and ECE.",
}


def explained(used: Iterable[str]) -> Rows:
    """A row for each of the words that occur among those used."""
    text = "\n".join(used)
    return [
        {"word": word, "what it means": what}
        for word, what in WORDS.items()
        if re.search(rf"\b{word}\b", text)
    ]


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
