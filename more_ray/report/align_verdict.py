"""What the page about aligned policies says first, of a result with the names that tables show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from more_ray.align.measures import BASE
from more_ray.metrics.evaluation import beats_guessing
from more_ray.metrics.intervals import detectable
from more_ray.metrics.written import interval_text, signed, with_interval
from more_ray.report.align_figures import Result
from more_ray.report.watch import MUCH
from more_ray.report.words import listed


def verdict(result: Result) -> dict[str, str]:
    """What the results support, what to watch out for, and what to do next.

    Args:
        result: as `align_page.as_shown` gives it; so for all below.
    """
    words = {
        "Result": " ".join(_found(result)),
        "Watch": " ".join(_watched(result)),
        "Next": _next(result),
    }
    return {about: text for about, text in words.items() if text}


def _found(result: Result) -> list[str]:
    sentences = []
    for judgement in result["judgements"]:
        ours, theirs, criterion = judgement["policy"], judgement["other"], judgement["criterion"]
        if judgement["win_rate"] is None:
            sentences.append(f"No verdict on {ours} and {theirs}, {criterion}, could be read.")
            continue
        finding = _finding(ours, theirs, judgement["win_rate"], judgement["win_rate_ci"])
        sentences.append(f"For being {criterion} the judge {finding}.")
    sentences += _preferred(result)
    gains = {name: _own_gain(policy) for name, policy in _aligned(result).items()}
    told = [f"{name} {signed(gain['mean'], gain['ci'])}" for name, gain in gains.items()]
    sentences.append(
        f"By the reward models that they were made by, policies gained: {listed(told)}."
    )
    return sentences


def _preferred(result: Result) -> list[str]:
    """Which policies the gold reward model prefers, for whom; then which it does not tell apart."""
    of_pair: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in _by_gold(result):
        of_pair.setdefault((one["policy"], one["other"]), []).append(one)
    sentences, alike = [], []
    for (ours, theirs), heads in of_pair.items():
        rates = {one["head"]: one["win_rate"] for one in heads}
        for_ours = [_for(head, rate) for head, rate in rates.items() if rate["ci"][0] > 0.5]
        for_theirs = [
            _for(head, _of_other(rate)) for head, rate in rates.items() if rate["ci"][1] < 0.5
        ]
        preferred = [
            f"{better} to {worse} {listed(shown)}"
            for better, worse, shown in ((ours, theirs, for_ours), (theirs, ours, for_theirs))
            if shown
        ]
        if preferred:
            sentences.append(f"The gold reward model prefers {', and '.join(preferred)}.")
        else:
            alike.append(f"{ours} from {theirs}")
    if alike:
        widest = max(detectable(one["win_rate"]["ci"]) for one in _by_gold(result))
        sentences.append(
            f"By none of its heads the gold reward model tells {listed(alike)}; a win rate "
            f"{widest:.2f} from one half would have shown in four of five such studies."
        )
    return sentences


def _for(head: str, rate: Mapping[str, Any]) -> str:
    """Whom a policy pleases more, and its win rate by them."""
    return f"for {head} ({rate['mean']:.2f}, {interval_text(rate['ci'], '.2f', ' to ')})"


def _of_other(rate: Mapping[str, Any]) -> dict[str, Any]:
    """The win rate of the other policy."""
    return {"mean": 1 - rate["mean"], "ci": [1 - end for end in reversed(rate["ci"])]}


def _watched(result: Result) -> list[str]:
    sentences = []
    if guessing := _guessing(result):
        names = [
            f"{name} (accuracy {found['accuracy']:.3f}, "
            f"{interval_text(found['accuracy_ci'], to=' to ')})"
            for name, found in guessing.items()
        ]
        sentences.append(f"Reward models not shown to beat guessing: {listed(names)}.")
    if cut := _cut_off(result):
        shares = ", ".join(f"{name} {policy['unfinished']:.0%}" for name, policy in cut.items())
        sentences.append(
            f"Many answers were cut off ({shares}): rewards are of unfinished answers."
        )
    return sentences


def _next(result: Result) -> str:
    """The first of these that holds."""
    aligned, rates = _aligned(result), _rates_against_base(result)
    if better := [
        name
        for name in aligned
        if any(ends[0] > 0.5 for ends in rates.get(name, []))
        and not any(ends[1] < 0.5 for ends in rates[name])
    ]:
        verb = "are" if better[1:] else "is"
        return (
            f"Use {' or '.join(better)}, which {verb} preferred to {BASE} by one comparison or "
            "more, and by none the other way round."
        )
    if _guessing(result):
        return (
            "Train a better reward model first: a policy is no better than what chooses its "
            "answers."
        )
    if _cut_off(result):
        return "Allow longer answers (sampling.max_new_tokens) and align again."
    if still := [name for name, policy in aligned.items() if not _is_shown(_own_gain(policy))]:
        return (
            f"Choose among more samples (sampling.samples) or use more prompts for {listed(still)}."
        )
    if rates:
        return f"Keep {BASE}: no policy is shown to be preferred to it."
    return "Have the answers judged (judge, or gold): a reward model flatters what it chose."


def _aligned(result: Result) -> dict[str, Any]:
    return {name: policy for name, policy in result["policies"].items() if name != BASE}


def _own_gain(policy: Mapping[str, Any]) -> Mapping[str, Any]:
    return policy["gain"][policy["reward_model"]]


def _is_shown(gain: Mapping[str, Any]) -> bool:
    return bool(gain["ci"]) and not gain["ci"][0] <= 0 <= gain["ci"][1]


def _guessing(result: Result) -> dict[str, Any]:
    """The reward models that are not shown to beat it."""
    models = result["reward_models"]
    return {name: found for name, found in models.items() if not beats_guessing(found)}


def _cut_off(result: Result) -> dict[str, Any]:
    """The policies of which many answers are."""
    policies = result["policies"]
    return {name: policy for name, policy in policies.items() if policy["unfinished"] >= MUCH}


def _by_gold(result: Result) -> list[Mapping[str, Any]]:
    """What each head of the gold reward model prefers, where there is an interval."""
    return [one for one in result["gold"] if one["win_rate"]["ci"]]


def _rates_against_base(result: Result) -> dict[str, list[Sequence[float]]]:
    """By policy, the intervals of its win rates."""
    found = [
        (one, one["win_rate_ci"]) for one in result["judgements"] if one["win_rate"] is not None
    ]
    found += [(one, one["win_rate"]["ci"]) for one in _by_gold(result)]
    rates: dict[str, list[Sequence[float]]] = {}
    for one, ends in found:
        if one["other"] == BASE:
            rates.setdefault(one["policy"], []).append(ends)
    return rates


def _finding(ours: str, theirs: str, rate: float, ends: Sequence[float]) -> str:
    numbers = f"win rate {with_interval(rate, ends, '.2f', ' to ')}"
    if ends[0] > 0.5:
        return f"prefers {ours} to {theirs} ({numbers})"
    if ends[1] < 0.5:
        return f"prefers {theirs} to {ours} ({numbers})"
    return (
        f"does not distinguish {ours} from {theirs} ({numbers}; a win rate {detectable(ends):.2f} "
        "from one half would have shown in four of five such studies)"
    )
