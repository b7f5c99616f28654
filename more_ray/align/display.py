"""What a person sees of aligned policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table


def perplexity_table(evaluations: Mapping[str, Mapping[str, Any]]) -> Table:
    """Perplexities of held-out answers, from the `eval.json` of each policy."""
    table = Table("source", "policy", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("perplexity", "of an answer, mean", "median", "outliers", "answers"):
        table.add_column(column, justify="right")
    first = next(iter(evaluations.values()))
    for source in first["sources"]:
        for name, evaluation in evaluations.items():
            one = evaluation["sources"][source]
            low, high = one["perplexity_ci"]
            table.add_row(
                *(source, name, f"{one['perplexity']:.2f} ({low:.2f}-{high:.2f})"),
                *(f"{one['answer_perplexity']:.2f}", f"{one['median_perplexity']:.2f}"),
                *(f"{one['outliers']}", f"{one['n']:,}"),
            )
    table.caption = (
        "perplexity: over all tokens, with its 95% interval; of an answer: each answer's own; "
        "outliers: answers far above the others' (Tukey's fence)."
    )
    table.caption_justify = "left"
    return table
