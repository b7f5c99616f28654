"""The built-in simulator: preference pairs of K annotator populations with known truth.

The populations share a reward `r*` and each adds its own drift, the paper's equations (4)-(6):

    r_i(x, y) = r*(x, y) + drift_i(x, y)
    P(y_a preferred over y_b by source i) = sigmoid((r_i(x, y_a) - r_i(x, y_b)) / noise_i)

An answer is a set of attributes, each shown by one readable sentence, and a reward is linear in
them, so that a small model can learn it from the text.

Legend: A attributes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from more_ray.config.data import each
from more_ray.data.messages import Message
from more_ray.data.records import Pair


@dataclass(frozen=True)
class Attribute:
    """A quality of answers: its weight in the shared reward, and sentences that show it."""

    name: str
    shared_weight: float
    phrasings: tuple[str, ...]


ATTRIBUTES = (
    Attribute(
        "polite",
        0.4,
        (
            "Thank you for this lovely question about {topic}.",
            "I am glad that you asked about {topic}.",
            "It is a pleasure to help with {topic}.",
        ),
    ),
    Attribute(
        "repeats the question",
        -1.4,
        (
            "So you would like to hear about {topic}.",
            "Your question, as I read it, concerns {topic}.",
            "The topic that you mention is {topic}.",
        ),
    ),
    Attribute(
        "direct",
        1.1,
        (
            "In short, begin today and do a little every day.",
            "The short answer is to start small and keep going.",
            "Simply put, regular practice matters more than anything else.",
        ),
    ),
    Attribute(
        "detailed",
        0.9,
        (
            "First prepare your tools, then go step by step.",
            "There are three stages: plan, work slowly, and review.",
            "Step one is to gather materials, step two to practise.",
        ),
    ),
    Attribute(
        "gives an example",
        0.7,
        (
            "For example, my neighbour began {topic} on Sundays.",
            "For instance, a friend tried {topic} last summer.",
            "As an example, one class tried {topic} together.",
        ),
    ),
    Attribute(
        "cites a source",
        0.6,
        (
            "According to the library handbook, most beginners succeed.",
            "A university study of 2019 supports this advice.",
            "The national guide, on page twelve, recommends the same.",
        ),
    ),
    Attribute(
        "warns about risk",
        0.3,
        (
            "Be careful, because {topic} can be dangerous.",
            "Keep safety in mind, as accidents happen while {topic}.",
            "One warning: in a hurry, {topic} may cause injuries.",
        ),
    ),
    Attribute(
        "hedged",
        -0.4,
        (
            "However, I am not sure, and it may depend.",
            "Then again, this might be wrong, and opinions differ.",
            "Perhaps this is true, but it is hard to say.",
        ),
    ),
)

# An answer has two to four attributes, in the order above.
ANSWERS = tuple(
    answer for size in (2, 3, 4) for answer in combinations(range(len(ATTRIBUTES)), size)
)

QUESTIONS = (
    "How do I get started with {topic}?",
    "What is the best way to begin {topic}?",
    "Can you give me some advice on {topic}?",
    "What should a beginner know about {topic}?",
    "How long does it take to become good at {topic}?",
    "What mistakes should I avoid when {topic}?",
    "Is {topic} a good hobby for busy people?",
    "Could you explain the basics of {topic} to me?",
    "What equipment do I need for {topic}?",
    "Why do so many people enjoy {topic}?",
)

TOPICS = (
    "baking bread",
    "growing tomatoes",
    "repairing a bicycle",
    "playing the guitar",
    "painting a fence",
    "training a puppy",
    "writing short stories",
    "sailing a small boat",
    "keeping bees",
    "brewing coffee",
    "taking portraits",
    "folding paper birds",
    "climbing indoors",
    "swimming in a lake",
    "knitting a scarf",
    "building a bookshelf",
    "cooking for a family",
    "saving money",
    "speaking in public",
    "running a marathon",
    "cleaning windows",
    "planting an orchard",
    "watching birds",
    "reading maps",
    "making cheese",
    "restoring old furniture",
    "riding a horse",
    "singing in a choir",
    "drawing portraits",
    "camping in winter",
    "speaking Italian",
    "programming a robot",
    "pruning roses",
    "skating on ice",
    "carving wood",
    "sewing a dress",
    "throwing pottery",
    "dancing the tango",
    "playing chess",
    "fishing in a river",
)


def _prompts(split: str) -> tuple[tuple[str, str], ...]:
    """The (question, topic) pairs of a split: about one prompt in five is for testing only."""
    prompts = ((question.format(topic=topic), topic) for question in QUESTIONS for topic in TOPICS)
    return tuple(
        prompt
        for prompt in prompts
        if (zlib.crc32(prompt[0].encode()) % 5 == 0) == (split == "test")
    )


PROMPTS = {split: _prompts(split) for split in ("train", "test")}
SHARED_WEIGHTS_A = np.array([attribute.shared_weight for attribute in ATTRIBUTES])


@dataclass(frozen=True)
class Simulator:
    """Makes the pairs of `sources` populations; each is a pure function of its arguments.

    `drift` is the norm of a population's own weights relative to the shared ones, `noise` the
    temperature of the labels: one value for all, or one for each source. Measured with noise 1,
    over 40 seeds: without drift the best possible model (which knows `r_i`) is right on 0.75 of a
    source's pairs; with drift 0.8 on 0.78 (0.72 to 0.82 by source), and two sources rank 0.72 of
    all pairs of answers the same way.

    With `votes`, that many people of the population are asked about each pair. The first of them
    gives the label that there is without votes.
    """

    sources: int = 5
    drift: float | Sequence[float] = 0.8
    noise: float | Sequence[float] = 1.0
    seed: int = 0
    votes: int = 0

    def names(self) -> list[str]:
        """The names of the sources: `population_1`, `population_2`, ..."""
        return [f"population_{number}" for number in range(1, self.sources + 1)]

    @cached_property
    def weights(self) -> dict[str, NDArray[np.float64]]:
        """`[A]` for each source: its weight of each attribute, shared weight plus drift."""
        drifts = zip(self.names(), each(self.drift, self.sources), strict=True)
        return {name: SHARED_WEIGHTS_A + self._drift(name, size) for name, size in drifts}

    @cached_property
    def temperatures(self) -> dict[str, float]:
        """The noise of each source."""
        return dict(zip(self.names(), each(self.noise, self.sources), strict=True))

    def pair(self, source: str, split: str, index: int) -> Pair:
        """Pair `index` (unbounded) of a source's train or test split.

        `probability` is the true probability that the source prefers `chosen`. The label is drawn,
        so it can be below one half. With votes, `chosen` is what most of them prefer and `share`
        how many; of a tie it is what the first prefers.
        """
        rng = self._rng(source, split, index)
        question, topic = PROMPTS[split][rng.integers(len(PROMPTS[split]))]
        first, second = (ANSWERS[i] for i in rng.choice(len(ANSWERS), size=2, replace=False))
        chosen, rejected = _text(first, topic, rng), _text(second, topic, rng)
        weights_A = self.weights[source]
        delta = weights_A[list(first)].sum() - weights_A[list(second)].sum()
        probability = _sigmoid(delta / self.temperatures[source])
        if rng.random() >= probability:
            chosen, rejected, probability = rejected, chosen, 1 - probability
        share = None
        if self.votes:
            agreeing = 1 + int((rng.random(self.votes - 1) < probability).sum())
            share = agreeing / self.votes
            if 2 * agreeing < self.votes:
                chosen, rejected, probability = rejected, chosen, 1 - probability
                share = (self.votes - agreeing) / self.votes
        prompt = (Message(role="user", content=question),)
        return Pair(prompt, chosen, rejected, source, probability=probability, share=share)

    def pairs(self, source: str, split: str, start: int, stop: int) -> Iterator[Pair]:
        """The pairs `start` to `stop`, the last excluded, of a source's train or test split."""
        return (self.pair(source, split, index) for index in range(start, stop))

    def corpus(self) -> Iterator[str]:
        """Texts to train a tokenizer on: every prompt, and every sentence about every topic."""
        for prompts in PROMPTS.values():
            yield from (question for question, _ in prompts)
        for attribute in ATTRIBUTES:
            for phrasing in attribute.phrasings:
                yield from (phrasing.format(topic=topic) for topic in TOPICS)

    def _drift(self, source: str, size: float) -> NDArray[np.float64]:
        """`[A]`: the drift of a source, in a random direction."""
        direction_A = self._rng("drift", source).standard_normal(len(ATTRIBUTES))
        norm = size * np.linalg.norm(SHARED_WEIGHTS_A)
        return norm * direction_A / np.linalg.norm(direction_A)

    def _rng(self, *key: str | int) -> np.random.Generator:
        """The random numbers that belong to `key`, the same in every process."""
        words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, *words])))


def _text(answer: tuple[int, ...], topic: str, rng: np.random.Generator) -> str:
    """The text of an answer: a sentence for each of its attributes."""
    attributes = [ATTRIBUTES[i] for i in answer]
    sentences = [
        attribute.phrasings[rng.integers(len(attribute.phrasings))] for attribute in attributes
    ]
    return " ".join(sentences).format(topic=topic)


def _sigmoid(x: float) -> float:
    return 0.5 + 0.5 * math.tanh(x / 2)
