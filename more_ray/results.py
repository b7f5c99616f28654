"""Results of verbs that a notebook can show."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

from more_ray.metrics.evaluation import Evaluation

Evaluations = dict[str, Evaluation]
"""The content of `eval.json` of each model, by name."""


@dataclass(frozen=True)
class Page:
    """A report, which a notebook shows inline."""

    path: str
    evaluations: Evaluations = field(repr=False)

    def _repr_html_(self) -> str:
        return inline(self.path)


@dataclass(frozen=True, repr=False)
class Trained:
    """A training run and, with `compare`, the runs it is compared with."""

    folder: str
    model: str
    """Path of the trained model; with `compare`, the model of the run's own scheme."""
    report: str
    """Path of the report page."""
    evaluations: Evaluations

    def __repr__(self) -> str:
        lines = [f"Trained in {self.folder}, with a page in {self.report}"]
        for name, evaluation in self.evaluations.items():
            mean = evaluation["mean"]
            lines.append(f"{name}: accuracy {mean['accuracy']:.3f}, ECE {mean['ece']:.3f}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return inline(self.report)


def inline(path: str) -> str:
    """A page as HTML in a frame, so that its styles do not leak into the notebook."""
    from more_ray import storage

    page = html.escape(storage.read_text(path))
    return f'<iframe srcdoc="{page}" style="width:100%;height:600px;border:0"></iframe>'
