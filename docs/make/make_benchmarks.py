"""Writes docs/benchmarks.md: benchmarks.template.md with the tables of jobs/benchmarks/results/.

python docs/make/make_benchmarks.py

In the template `<!-- table: NAME -->` stands for the rows of NAME.json, and `<!-- measured: NAME
-->` for the command, commit, machine and versions that they were measured with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "benchmarks.md"
TEMPLATE = HERE / "benchmarks.template.md"
RESULTS = HERE.parents[1] / "jobs" / "benchmarks" / "results"
MARK = re.compile(r"<!-- (table|measured): (\S+) -->")
MISSING = "Not recorded yet."

Row = dict[str, Any]
Shown = str | Callable[[Any], str]
"""A format for a number, or a function that shows a value."""


def text(results: Path = RESULTS) -> str:
    """The page."""

    def filled(mark: re.Match[str]) -> str:
        kind, name = mark.groups()
        path = results / f"{name}.json"
        if not path.exists():
            return MISSING if kind == "table" else ""
        content = json.loads(path.read_text())
        if kind == "measured":
            return measured(content["measured_with"])
        rows = ROWS[name](content["rows"]) if name in ROWS else content["rows"]
        return table(rows, COLUMNS[name]) if name in COLUMNS else plain(rows)

    return re.sub(r"\n{3,}", "\n\n", MARK.sub(filled, TEMPLATE.read_text()))


def named() -> set[str]:
    """The files that the template has a table of."""
    return {name for kind, name in MARK.findall(TEMPLATE.read_text()) if kind == "table"}


def measured(made: Row) -> str:
    versions = ", ".join(f"{name} {one}" for name, one in made["versions"].items() if one)
    return (
        f"<!-- not run: minutes to hours -->\n```bash\n{made['command']}\n```\n\n"
        f"Commit {made['commit']}, {made['started'][:10]}; {made['processor']}, {made['cores']} "
        f"cores, {made['memory_gib']} GiB; Python {made['python']}, {versions}."
    )


def table(rows: Sequence[Row], columns: Columns) -> str:
    """Rows as Markdown.

    Args:
        columns: the heading of each, its key in a row, and how the value is shown.
    """
    headings = " | ".join(heading for heading, _, _ in columns)
    lines = [f"| {headings} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = [show(row.get(key), how) for _, key, how in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plain(rows: Sequence[Row]) -> str:
    """All rows and columns."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return table(rows, [(key, key, short) for key in keys])


def show(value: Any, how: Shown) -> str:
    if value is None:
        return ""
    if callable(how):
        return how(value)
    return how.format(value)


def short(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(short, value))
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1_000 else f"{value:,.0f}"


def span(value: Sequence[float]) -> str:
    return f"{value[0]:.3f} to {value[1]:.3f}"


def power(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def microseconds(value: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} µs"


NUMBER, TEXT, THREE = "{:,}", "{}", "{:.3f}"
Columns = Sequence[tuple[str, str, Shown]]


REWARD_STEP: Columns = [
    ("step", "step", TEXT),
    ("steps", "steps", TEXT),
    ("s a step", "seconds", "{:.2f}"),
    ("pairs/s", "pairs/s", "{:.2f}"),
    ("tokens a step", "tokens/step", "{:,.0f}"),
    ("peak memory", "peak MiB", lambda size: f"{size / 1024:.1f} GiB"),
    ("times ours", "times packed", "{:.2f}"),
    ("losses differ by", "loss differs by", power),
]
PRECISION: Columns = [
    ("precision", "precision", TEXT),
    ("training, pairs/s", "training, pairs/s", "{:.2f}"),
    ("times fp32", "training, times fp32", "{:.2f}"),
    ("evaluation, pairs/s", "evaluation, pairs/s", "{:.1f}"),
    ("times fp32", "evaluation, times fp32", "{:.2f}"),
    ("accuracy", "accuracy", THREE),
    ("ECE", "ece", THREE),
    ("NLL", "nll", THREE),
    ("scores change by, median", "scores change by, median", THREE),
    ("spread of scores", "spread of scores", THREE),
]
FEATURE_PASS: Columns = [
    ("precision", "precision", TEXT),
    ("tokens a pair", "tokens a pair", "{:.0f}"),
    ("this code, pairs/s", "this code, pairs/s", "{:.1f}"),
    ("plain transformers, pairs/s", "plain, pairs/s", "{:.1f}"),
    ("times", "times", "{:.2f}"),
    ("scores differ by, of their spread", "differ by, of their spread", power),
]
RANKED_ANSWERS: Columns = [
    ("answers", "answers", TEXT),
    ("prompts", "prompts", TEXT),
    ("pairs", "pairs", TEXT),
    ("tokens, pair by pair", "tokens, pair by pair", NUMBER),
    ("tokens, once", "tokens, once", NUMBER),
    ("fewer", "fewer", "{:.2f} times"),
    ("a step is faster", "times faster", "{:.2f} times"),
]
STEP_COST: Columns = [
    ("step", "step", TEXT),
    ("workers", "workers", TEXT),
    ("pairs", "pairs", TEXT),
    ("tokens", "tokens", NUMBER),
    ("s", "seconds", "{:.2f}"),
    ("ratio", "ratio", THREE),
    ("to", "to", TEXT),
    ("exchange alone, ms", "exchange ms", "{:.1f}"),
]
SOLVER: Columns = [
    ("K", "K", NUMBER),
    ("ours, median", "active_set, median", microseconds),
    ("ours, gap", "active_set, gap", power),
    ("plain Frank-Wolfe", "frank_wolfe, median", microseconds),
    ("its gap", "frank_wolfe, gap", power),
    ("TorchJD MGDA", "TorchJD MGDA, median", microseconds),
    ("its gap", "TorchJD MGDA, gap", power),
    ("quadprog", "quadprog, median", microseconds),
    ("its gap", "quadprog, gap", power),
]
INGEST: Columns = [
    ("training pairs", "pairs", NUMBER),
    ("prepare", "prepare s", "{:.0f} s"),
    ("pairs/s", "pairs/s", "{:,.0f}"),
    ("peak memory, prepare", "prepare peak MiB", "{:,.0f} MiB"),
    ("peak memory, training", "train peak MiB", "{:,.0f} MiB"),
    ("share of a step that waits for data", "waits for data", "{:.1%}"),
]
STARTUP: Columns = [
    ("", "run", TEXT),
    ("to the first step", "to the first step, s", "{:.1f} s"),
    ("to the end", "to the end, s", "{:.1f} s"),
    ("processor time of all processes", "processor, s", "{:.1f} s"),
]
KILLS: Columns = [
    ("kills", "kills", TEXT),
    ("of the whole job", "job", TEXT),
    ("of a worker", "worker", TEXT),
    ("of a process that makes batches", "data", TEXT),
    ("undisturbed", "undisturbed s", "{:.0f} s"),
    ("killed", "killed s", "{:.0f} s"),
    ("lost a kill", "lost s a kill", "{:.1f} s"),
    ("steps", "steps", TEXT),
    ("done again", "steps done again", TEXT),
    ("same weights", "same weights", lambda same: "bit for bit" if same else "no"),
]
SAMPLING: Columns = [
    ("way", "sampling", TEXT),
    ("answers", "samples", TEXT),
    ("tokens/s", "tokens/s", "{:.0f}"),
    ("times one by one", "times one by one", "{:.1f}"),
    ("answers the same as the shared cache's", "same samples", "{:.0%}"),
]
PEERS: Columns = [
    ("tool", "version", TEXT),
    ("asked", "asked", TEXT),
    ("texts", "texts", TEXT),
    ("largest difference", "largest difference", power),
    ("spread of the scores", "spread of scores", "{:.2f}"),
]
PEERS_REWARDBENCH: Columns = [
    ("model", "model", TEXT),
    ("tool", "tool", TEXT),
    ("pairs", "pairs", TEXT),
    ("largest difference", "largest difference", power),
    ("spread of the scores", "spread of scores", "{:.2f}"),
]
HEADS_COMPARED: Columns = [
    ("way", "scheme", TEXT),
    ("accuracy", "accuracy", THREE),
    ("95%", "accuracy, 95%", TEXT),
    ("NLL", "nll", THREE),
    ("95%", "nll, 95%", TEXT),
    ("ECE", "ece", THREE),
    ("of the samples", "ece of the draws", TEXT),
    ("floor", "floor", THREE),
]
DIFFERENCES: Columns = [
    ("way", "way", TEXT),
    ("less", "less", TEXT),
    ("accuracy", "accuracy", "{:+.3f}"),
    ("95%", "accuracy, 95%", TEXT),
    ("NLL", "nll", "{:+.3f}"),
    ("95%", "nll, 95%", TEXT),
    ("ECE", "ece", "{:+.3f}"),
    ("95%", "ece, 95%", TEXT),
]
FURTHER: Columns = [
    ("test set", "set", TEXT),
    ("pairs", "pairs", TEXT),
    ("head", "head", TEXT),
    ("accuracy", "accuracy", THREE),
    ("ECE", "ece", THREE),
    ("NLL", "nll", THREE),
]
WHEN_MORE_CALIBRATES: Columns = [
    ("world", "world", TEXT),
    ("B", "B", TEXT),
    ("scheme", "scheme", TEXT),
    ("learning rate", "lr", "{:g}"),
    ("NLL", "nll", THREE),
    ("95%", "nll, 95%", span),
    ("ECE", "ece", THREE),
    ("95%", "ece, 95%", span),
    ("accuracy", "accuracy", THREE),
]
CHOICES_RULES: Columns = [
    ("drift", "drift", TEXT),
    ("pairs a source", "pairs", TEXT),
    ("best by", "best by", TEXT),
    ("least pleased of a prompt, less `shared`'s", "least, by prompt, less shared's", TEXT),
    ("mean of sources, less `shared`'s", "mean of sources, less shared's", TEXT),
]
CHOICES_CAUTION: Columns = [
    ("features", "features", TEXT),
    ("pairs a source", "pairs", TEXT),
    ("qualities rare in training", "rare", lambda rare: "yes" if rare else "no"),
    ("caution", "caution", TEXT),
    ("everybody's true reward, less without", "everybody, less without", TEXT),
    ("mean of sources, less without", "mean of sources, less without", TEXT),
]
SOFT_LABELS: Columns = [
    ("votes a pair", "votes", TEXT),
    ("labels", "labels", TEXT),
    ("to truth", "to truth", THREE),
    ("95%", "to truth, 95%", span),
    ("accuracy", "accuracy", THREE),
    ("95%", "accuracy, 95%", span),
]

COLUMNS: dict[str, Columns] = {
    "reward_step": REWARD_STEP,
    "precision": PRECISION,
    "feature_pass": FEATURE_PASS,
    "ranked_answers": RANKED_ANSWERS,
    "step_cost": STEP_COST,
    "solver": SOLVER,
    "ingest": INGEST,
    "startup": STARTUP,
    "kills": KILLS,
    "sampling": SAMPLING,
    "peers": PEERS,
    "peers-rewardbench": PEERS_REWARDBENCH,
    "heads_compared-12": HEADS_COMPARED,
    "heads_compared-12-differences": DIFFERENCES,
    "heads_compared-12-further": FURTHER,
    "heads_compared-30": HEADS_COMPARED,
    "heads_compared-30-differences": DIFFERENCES,
    "heads_compared-30-further": FURTHER,
    "when_more_calibrates": WHEN_MORE_CALIBRATES,
    "choices-rules": CHOICES_RULES,
    "choices-caution": CHOICES_CAUTION,
    "soft_labels": SOFT_LABELS,
}
"""The columns of a file that are shown; of all others, all."""


def solver(rows: Sequence[Row]) -> Sequence[Row]:
    by_K: dict[int, Row] = {}
    for row in rows:
        of_K = by_K.setdefault(row["K"], {"K": row["K"]})
        of_K[f"{row['solver']}, median"] = row["median us"]
        of_K[f"{row['solver']}, gap"] = row["largest relative gap"]
    return list(by_K.values())


def startup(rows: Sequence[Row]) -> Sequence[Row]:
    return [row for row in rows if row["run"] == "median"]


def when_more_calibrates(rows: Sequence[Row]) -> Sequence[Row]:
    """Each world, B and scheme at the learning rate by which its NLL is least."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        cell = row["world"], row["B"], row["scheme"]
        if cell not in best or row["nll"] < best[cell]["nll"]:
            best[cell] = row
    return list(best.values())


def choices_rules(rows: Sequence[Row]) -> Sequence[Row]:
    return [row for row in rows if row["best by"] != "shared"]


def choices_caution(rows: Sequence[Row]) -> Sequence[Row]:
    """The best of 64, with some caution."""
    return [row for row in rows if row["samples"] == 64 and row["caution"]]


ROWS: dict[str, Callable[[Sequence[Row]], Sequence[Row]]] = {
    "solver": solver,
    "startup": startup,
    "when_more_calibrates": when_more_calibrates,
    "choices-rules": choices_rules,
    "choices-caution": choices_caution,
}
"""What is made of the rows of a file first; of all others, nothing."""


if __name__ == "__main__":
    PAGE.write_text(text())
