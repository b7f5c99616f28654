"""The preference record that every data set is read into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from more_ray.data.answers import split
from more_ray.data.messages import Message, prompt_after
from more_ray.data.rejects import InvalidRecord, Reason, Reject, name_of, number


@dataclass(frozen=True, slots=True)
class Pair:
    """One human preference, or a single answer: then `rejected` is empty.

    `prompt` ends with a user turn; `chosen` and `rejected` are the text of the assistant turn that
    follows it, stripped. `margin` is how strongly the annotator preferred `chosen`. `probability`
    is the true probability that `chosen` is preferred, known for simulated data only. `subset` is
    the part of a test set that the pair belongs to. `share` is the share of annotators who
    preferred `chosen`, at least one half, and exactly that for a tie; None where one label is all
    that is known. `weight` is how much the pair counts beside others. Pairs of the
    same `record` rank the same answers: they are trained together.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str
    margin: float | None = None
    probability: float | None = None
    subset: str | None = None
    share: float | None = None
    weight: float = 1.0
    record: str | None = None


def to_pair(
    *,
    prompt: Any,
    chosen: Any,
    rejected: Any,
    source: str,
    where: str,
    margin: Any = None,
    probability: Any = None,
    subset: Any = None,
    share: Any = None,
    weight: Any = None,
    record: str | None = None,
    before: tuple[Message, ...] = (),
) -> Pair | Reject:
    """Turn the raw values of one record into a `Pair`, or say why it is not a pair.

    `prompt` is a transcript, a list of messages, or None: then `chosen` and `rejected` are complete
    dialogues that differ in their last assistant turn only. With a prompt, an answer is a text or
    a list of messages, and may repeat the prompt. With a prompt, `rejected` may be None: there is
    only one answer. `before` are turns that come before the prompt. Messages may be given as JSON
    text. Where `share` is below one half, the two answers change places; a margin above 0 says the
    opposite then, and is a contradiction.
    """
    try:
        context, better, worse = split(prompt, chosen, rejected)
        if not better or not (worse or rejected is None):
            empty = "rejected" if better else "chosen"
            if prompt is None and len(context) == 1 and context[0]["role"] == "user":
                raise InvalidRecord(
                    Reason.NO_PROMPT, f"{empty} is a single text, and there is no column prompt"
                )
            raise InvalidRecord(Reason.EMPTY, f"{empty} has no answer")
        if better == worse:
            raise InvalidRecord(Reason.IDENTICAL, f"{len(better)} characters")
        share = None if share is None else _probability(share, "share")
        probability = None if probability is None else _probability(probability, "probability")
        margin = None if margin is None else number(margin, "margin")
        if share is not None and share < 0.5:
            if margin is not None and margin > 0:
                raise InvalidRecord(Reason.CONTRADICTION, f"margin {margin:g}, share {share:g}")
            better, worse, share = worse, better, 1 - share
            margin = None if margin is None else abs(margin)
            probability = None if probability is None else 1 - probability
        return Pair(
            prompt_after(before, context),
            better,
            worse,
            source,
            margin,
            probability,
            None if subset is None else name_of(subset, "subset"),
            share,
            1.0 if weight is None else _weight(weight),
            record,
        )
    except InvalidRecord as invalid:
        return invalid.at(where)


def _probability(value: Any, name: str) -> float:
    probability = number(value, name)
    if not 0 <= probability <= 1:
        raise InvalidRecord(Reason.WRONG_TYPE, f"{name} must lie in [0, 1]")
    return probability


def _weight(value: Any) -> float:
    weight = number(value, "weight")
    if weight <= 0:
        raise InvalidRecord(Reason.WRONG_TYPE, "weight must be above 0")
    return weight
