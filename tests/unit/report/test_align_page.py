from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from more_ray.judge.summary import summarise
from more_ray.report.align_page import (
    as_shown,
    best_rows,
    gold_rows,
    judged_rows,
    measure_rows,
    render_page,
)
from more_ray.report.align_verdict import verdict
from more_ray.terminal import alignment_tables


def one(mean: float, half: float = 0.1) -> dict[str, Any]:
    return {"mean": mean, "ci": [mean - half, mean + half], "n": 10}


def policy(
    gain: float, kl: dict[str, Any] | None, reward_model: str | None = None, choice: str = "shared"
) -> dict[str, Any]:
    perplexity = {"perplexity": 8.0, "perplexity_ci": [7.0, 9.0], "answer_perplexity": 9.5}
    return {
        "tokens": one(50, 5),
        "unfinished": 0.25,
        "distinct_bigrams": one(0.9),
        "reward": {"more": one(gain), "proportional": one(gain)},
        "gain": {"more": one(gain), "proportional": one(gain)},
        "gain_of_sources": {"more": {"ours": one(gain / 2)}, "proportional": {}},
        "reward_model": reward_model,
        "choice": choice,
        "kl": kl,
        "perplexity": {"helpful": {**perplexity, "median_perplexity": 8, "outliers": 1, "n": 20}},
    }


def judged(ours: str, theirs: str, wins: int, losses: int) -> dict[str, Any]:
    outcomes = ["win"] * wins + ["lose"] * losses + ["tie"] * 4
    names = {"policy": ours, "other": theirs, "criterion": "helpful", "said_a": 0.5}
    return {**names, **summarise(outcomes)}


def preferred(ours: str, theirs: str, head: str, rate: float) -> dict[str, Any]:
    shares = {"win": one(rate), "tie": one(0.0), "lose": one(1 - rate), "win_rate": one(rate, 0.05)}
    return {"policy": ours, "other": theirs, "head": head, **shares}


@pytest.fixture
def result() -> dict[str, Any]:
    measures = {"n": 50, "accuracy": 0.6, "accuracy_ci": [0.5, 0.7], "ece": 0.05}
    measures |= {"ece_ci": [0.0, 0.1], "ece_noise_floor": 0.04}
    return {
        "environment": {"command": "python jobs/align.py", "commit": "abc"},
        "reward_models": {"more": measures, "proportional": {**measures, "ece": 0.08}},
        "policies": {
            "base": policy(0.0, None),
            "more": policy(0.3, one(2.0), "more"),
            "more-worst": policy(0.1, one(1.5), "more", "worst"),
            "proportional": policy(-0.2, one(1.0), "proportional"),
        },
        "best_of": {
            name: {
                "n": [1, 2, 4],
                "reward_models": {"more": [one(0.0), one(0.2), one(0.3)]},
                "sources": {"ours": [one(0.0), one(0.1), one(0.05)]},
                "gold": {},
            }
            for name in ("more", "more-worst")
        },
        "gold": [
            preferred("more", "base", "everybody", 0.6),
            preferred("more", "base", "helpful", 0.7),
            preferred("more", "proportional", "everybody", 0.48),
        ],
        "judgements": [
            judged("more", "base", 30, 2),
            judged("more-worst", "base", 20, 12),
            judged("more", "proportional", 9, 8),
        ],
    }


def test_the_verdict_says_what_is_told_apart(result: dict[str, Any]) -> None:
    text = verdict(as_shown(result))["Result"]
    assert "For being helpful the judge prefers MORE to base (win rate 0.89" in text
    assert "For being helpful the judge does not distinguish MORE from MultiTask" in text
    gained = "made by, policies gained: MORE +0.300 (+0.200 to +0.400), MORE (worst) +0.100 (+0.000"
    assert gained in text


def test_what_to_watch_and_to_do_next(result: dict[str, Any]) -> None:
    """Who is shown to be preferred is used; else each step is named once those before it are
    taken."""
    shown = as_shown(result)
    found = verdict(shown)
    assert found["Watch"] == (
        "Reward models not shown to beat guessing: MORE (accuracy 0.600, 0.500 to 0.700) and "
        "MultiTask (accuracy 0.600, 0.500 to 0.700). Many answers were cut off (base 25%, MORE "
        "25%, MORE (worst) 25%, MultiTask 25%): rewards are of unfinished answers."
    )
    assert found["Next"].startswith(
        "Use MORE, which is preferred to base by one comparison or more,"
    )
    shown["gold"][1]["win_rate"]["ci"] = [0.3, 0.4]
    assert verdict(shown)["Next"].startswith("Train a better reward model first")
    for measures in shown["reward_models"].values():
        measures["accuracy_ci"] = [0.51, 0.7]
    assert verdict(shown)["Next"].startswith("Allow longer answers (sampling.max_new_tokens)")
    for policy in shown["policies"].values():
        policy["unfinished"] = 0.05
    assert "Watch" not in verdict(shown)
    assert verdict(shown)["Next"].endswith("use more prompts for MORE (worst).")
    del shown["policies"]["MORE (worst)"]
    assert verdict(shown)["Next"] == "Keep base: no policy is shown to be preferred to it."
    shown["judgements"], shown["gold"] = [], []
    assert verdict(shown)["Next"].startswith("Have the answers judged")


def test_a_null_says_what_would_have_shown(result: dict[str, Any]) -> None:
    text = verdict(as_shown(result))["Result"]
    preferred = "for everybody (0.60, 0.55 to 0.65) and for helpful (0.70, 0.65 to 0.75)."
    assert f"The gold reward model prefers MORE to base {preferred}" in text
    null = (
        "By none of its heads the gold reward model tells MORE from MultiTask; a win rate 0.07 from"
    )
    assert null in text
    by = [(row["policies"], row["by"]) for row in gold_rows(as_shown(result))]
    assert by == [
        ("MORE against base", "everybody"),
        ("MORE against base", "helpful"),
        ("MORE against MultiTask", "everybody"),
    ]


def test_a_policy_may_please_one_source_against_another(result: dict[str, Any]) -> None:
    result["gold"].append(preferred("more", "base", "harmless", 0.4))
    assert (
        "MORE to base for everybody (0.60, 0.55 to 0.65) and for helpful (0.70, 0.65 to 0.75), and "
        "base to MORE for harmless (0.60, 0.55 to 0.65)."
    ) in verdict(as_shown(result))["Result"]


def test_what_the_choice_is_worth_to_the_gold_reward_model(result: dict[str, Any]) -> None:
    assert best_rows(as_shown(result)) == []
    everybody, helpful, harmless = (
        (one(0.0), one(0.05)),
        (one(0.0), one(0.2)),
        (one(0.0), one(-0.3)),
    )
    for curves in result["best_of"].values():
        curves |= {"n": [1, 2], "sources": {}, "gold": {"helpful": helpful, "harmless": harmless}}
        curves["reward_models"] = {"more": (one(0.0), one(0.3)), "gold": everybody}
    shown = as_shown(result)
    assert best_rows(shown)[0] == {
        "chosen by": "MORE",
        "answers": 2,
        "everybody": "+0.050 (-0.050 to +0.150)",
        "helpful": "+0.200 (+0.100 to +0.300)",
        "harmless": "-0.300 (-0.400 to -0.200)",
    }
    page = render_page(result, "")
    assert "What the gold reward model thinks of the choice" in page
    assert "gold, harmless" in page
    console = Console(width=80, file=io.StringIO())
    console.print(*alignment_tables(result))
    assert "the best answer gains" in console.file.getvalue()


def test_tables(result: dict[str, Any]) -> None:
    result = as_shown(result)
    assert [row["decided"] for row in judged_rows(result)] == [36, 36, 21]
    rows = measure_rows(result)
    assert [row["gain by MORE"] for row in rows] == [
        "",
        "+0.300 (+0.200 to +0.400)",
        "+0.100 (+0.000 to +0.200)",
        "-0.200 (-0.300 to -0.100)",
    ]
    assert rows[0]["gain by MORE, ours"] == ""
    assert rows[1]["gain by MORE, ours"] == "+0.150 (+0.050 to +0.250)"
    assert rows[0]["KL, nats"] == "-"


def test_the_terminal_has_room_for_all(result: dict[str, Any]) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(*alignment_tables(result))
    shown = console.file.getvalue()
    assert "…" not in shown
    assert "0.89 (0." in shown
    assert "+0.300" in shown
    assert "MultiTask" in shown
    assert "proportional" not in shown
    assert "By the gold reward model" in shown


def test_the_page_needs_nothing_but_itself(result: dict[str, Any]) -> None:
    page = render_page(result, "prompts: FILE")
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)[^#]', page)
    assert "ECE and win rate" in page
    assert "Reward and divergence" in page
    assert "7.00-9.00" in page
    assert "Best of n as for MORE (worst)" in page
    assert "By source ours the mean is largest for the best of 2" in page


def test_without_a_judge_and_without_verdicts(result: dict[str, Any]) -> None:
    nothing = {**judged("more", "base", 1, 1), **summarise(["unparsable"]), "said_a": None}
    page = render_page({**result, "judgements": [nothing], "gold": []}, "")
    assert "gold" not in page
    assert "No verdict on MORE and base, helpful, could be read." in page
    assert "ECE and win rate" not in page
    assert "Win, tie, lose" not in render_page({**result, "judgements": []}, "")


def test_the_judge_may_prefer_the_other(result: dict[str, Any]) -> None:
    result["judgements"] = [judged("more", "base", 2, 30)]
    assert "the judge prefers base to MORE (win rate" in verdict(as_shown(result))["Result"]


def test_a_win_over_another_policy_is_none_over_the_base(result: dict[str, Any]) -> None:
    result["judgements"] = [judged("more", "proportional", 30, 2)]
    result["gold"] = []
    assert not verdict(as_shown(result))["Next"].startswith("Use")


def test_what_would_have_shown_is_that_of_the_least_sure_pair(result: dict[str, Any]) -> None:
    alike = [preferred("more", other, "everybody", 0.5) for other in ("base", "proportional")]
    alike[1]["win_rate"]["ci"] = [0.3, 0.7]
    result["gold"] = alike
    assert "; a win rate 0.29 from one half would have" in verdict(as_shown(result))["Result"]


def test_a_single_prompt_has_no_interval(result: dict[str, Any]) -> None:
    result["gold"] = [preferred("more", "base", "everybody", 0.5)]
    result["gold"][0]["win_rate"]["ci"] = None
    assert "gold" not in verdict(as_shown(result))["Result"]
    assert gold_rows(as_shown(result)) == []
