"""What a person sees of rejection sampling: one bar, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from more_ray.terminal import console


class SamplingProgress(Progress):
    """A bar over prompts, with the tokens/s since the first block was done.

    Args:
        verb: what is done to the answers.
    """

    def __init__(self, verb: str = "sample") -> None:
        super().__init__(
            *(TextColumn(f"[bold]{verb}"), BarColumn(bar_width=12), MofNCompleteColumn()),
            *(TextColumn("{task.description}"), TimeElapsedColumn()),
            *(TimeRemainingColumn(compact=True), TextColumn("left")),
            console=console,
        )
        self._prompts = self.add_task("prompts", total=None)
        self._first: tuple[float, int] | None = None

    def show(self, done: int, prompts: int, tokens: int) -> None:
        now = time.monotonic()
        text = "prompts"
        if self._first:
            since, before = self._first
            text += f", {(tokens - before) / (now - since):,.0f} tokens/s"
        elif tokens:
            self._first = now, tokens
        self.update(self._prompts, completed=done, total=prompts, description=text)


def samples_table(summary: Mapping[str, Any]) -> Table:
    """The content of `summary.json`."""
    table = Table("of", "prompts", "samples", "mean reward", box=SIMPLE_HEAD, pad_edge=False)
    best = summary["prompts"] - summary["prompts_without_answer"]
    prompts, samples = summary["prompts"], summary["samples"]
    table.add_row("all samples", f"{prompts:,}", f"{samples:,}", _reward(summary["mean_reward"]))
    table.add_row("the best", f"{best:,}", f"{best:,}", _reward(summary["mean_reward_of_best"]))
    table.caption = (
        f"Of the samples {summary['duplicates']:.1%} repeat another of their prompt, "
        f"{summary['empty']:.1%} are empty and {summary['unfinished']:.1%} were cut off; "
        f"{summary['mean_tokens']:.0f} tokens on average."
    )
    table.caption_justify = "left"
    return table


def _reward(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
