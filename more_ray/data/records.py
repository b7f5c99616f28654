"""The preference record that every data set is read into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from more_ray.data.messages import Message, prompt_after, split
from more_ray.data.rejects import InvalidRecord, Reason, Reject, name_of, number


@dataclass(frozen=True, slots=True)
class Pair:
    """One human preference, or a single answer: then `rejected` is empty.

    `prompt` ends with a user turn; `chosen` and `rejected` are the text of the assistant turn that
    follows it, stripped. `margin` is how strongly the annotator preferred `chosen`. `probability`
    is the true probability that `chosen` is preferred, known for simulated data only. `subset` is
    the part of a test set that the pair belongs to.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str
    margin: float | None = None
    probability: float | None = None
    subset: str | None = None


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
    before: tuple[Message, ...] = (),
) -> Pair | Reject:
    """Turn the raw values of one record into a `Pair`, or say why it is not a pair.

    `prompt` is a transcript, a list of messages, or None: then `chosen` and `rejected` are complete
    dialogues that differ in their last assistant turn only. With a prompt, an answer is a text, or
    a list of messages that may repeat the prompt. With a prompt, `rejected` may be None: there is
    only one answer. `before` are turns that come before the prompt. Messages may be given as JSON
    text.
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
        return Pair(
            prompt_after(before, context),
            better,
            worse,
            source,
            None if margin is None else number(margin, "margin"),
            None if probability is None else _probability(probability),
            None if subset is None else name_of(subset, "subset"),
        )
    except InvalidRecord as invalid:
        return invalid.at(where)


def _probability(value: Any) -> float:
    probability = number(value, "probability")
    if not 0 <= probability <= 1:
        raise InvalidRecord(Reason.WRONG_TYPE, "probability must lie in [0, 1]")
    return probability
