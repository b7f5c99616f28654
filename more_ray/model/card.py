"""The model card of an export, as the Hugging Face hub shows it, and where the model comes from.

`README.md` and `environment.json` lie beside the weights and are made of the files of the run's
folder. They name no path of the machine.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from jinja2 import Environment, PackageLoader, StrictUndefined

from more_ray import storage
from more_ray.config import CalibrationConfig, RunConfig
from more_ray.data.hub import HUB, parse_hub
from more_ray.data.sources import locate
from more_ray.metrics.evaluation import Evaluation, Measured, SourceMeasures
from more_ray.metrics.measures import MEASURES
from more_ray.metrics.written import with_interval
from more_ray.model.heads_file import Calibration
from more_ray.objective.losses import LOSSES
from more_ray.run_folder import (
    CARD,
    ENVIRONMENT,
    MODELS,
    base_of,
    evaluation_of,
    model_of,
)

Rows = list[dict[str, Any]]
"""Cells by the heading of their column."""

OF_POLICIES = {"perplexity": "perplexity", "answer_perplexity": "of an answer, mean"}
"""Measures of held-out answers, with the headings of their columns."""
NAMES = {"accuracy": "accuracy", "ece": "expected calibration error", "perplexity": "perplexity"}
"""What the hub shows beside a model, where it was measured."""


def write_card(
    config: RunConfig | CalibrationConfig,
    heads: Calibration | None = None,
    source: str | None = None,
) -> None:
    """Write the card of an evaluated model into its folder, over an older one.

    Args:
        config: the settings of the run or the calibration.
        heads: those that a calibration fitted.
        source: the population whose head the model has; None: everybody's.
    """
    folder = config.output_dir
    model = model_of(folder) if source is None else storage.join(folder, MODELS, source)
    made = storage.read_json(storage.join(folder, ENVIRONMENT))
    about = About(config, evaluation_of(folder), made, heads, source)
    storage.write_json(storage.join(model, ENVIRONMENT), _without_paths(made))
    storage.write_text(storage.join(model, CARD), about.card())


@dataclass(frozen=True)
class About:
    """What a card says of a model."""

    config: RunConfig | CalibrationConfig
    evaluation: Evaluation
    made: Mapping[str, Any]
    """The content of the run's `environment.json`."""
    heads: Calibration | None = None
    source: str | None = None

    def card(self) -> str:
        """The whole text, with the hub's metadata at its head."""
        templates = Environment(
            loader=PackageLoader("more_ray.model", "."),
            undefined=StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
        )
        return templates.get_template("card.md.j2").render(
            metadata=self.metadata().to_yaml(),
            about=self,
            config=self.config,
            made=self.made,
            base=_named(self.base),
        )

    @property
    def name(self) -> str:
        run = _last_part(self.config.output_dir)
        return f"{run}-{self.source}" if self.source else run

    @property
    def loss(self) -> str:
        return self.config.objective.loss if isinstance(self.config, RunConfig) else "ranking"

    @property
    def is_policy(self) -> bool:
        return LOSSES[self.loss].trains_policy

    @property
    def is_calibrated(self) -> bool:
        return self.heads is not None

    @property
    def has_drifts(self) -> bool:
        return self.config.model.heads == "shared+drift"

    @property
    def base(self) -> str:
        return base_of(self.config.model.path)

    @cached_property
    def hub_data(self) -> dict[str, str]:
        """The data sets on the hub, by source."""
        data = self.config.data
        located = locate(data) if data.sources or data.root else []
        return {
            source.name: source.hub.path
            for source in located
            if source.hub and _is_on_hub(source.hub.path)
        }

    @property
    def measured(self) -> Measured:
        """By the head that this model has."""
        if self.source:
            own = self.evaluation["sources"][self.source]
            return {"sources": {self.source: own}, "mean": own}
        return self.evaluation.get("shared") or self.evaluation

    def metadata(self) -> ModelCardData:
        """What the hub reads."""
        task = "text-generation" if self.is_policy else "text-classification"
        kind = self.loss if self.is_policy else "reward-model"
        results = [
            EvalResult(
                task_type=task,
                task_name="held-out answers" if key == "perplexity" else "preference",
                dataset_type=self.hub_data.get(source, source),
                dataset_name=source,
                # Sources of one data set are told apart by this alone.
                dataset_config=source if source in self.hub_data else None,
                dataset_split="test",
                metric_type=key,
                metric_name=name,
                metric_value=round(measures[key], 4),
            )
            for source, measures in self.measured["sources"].items()
            for key, name in NAMES.items()
            if key in measures
        ]
        return ModelCardData(
            model_name=self.name,
            library_name="transformers",
            pipeline_tag=task,
            tags=[kind, "more-ray", self.evaluation["scheme"]],
            base_model=self.base if _is_on_hub(self.base) else None,
            datasets=sorted(set(self.hub_data.values())) or None,
            eval_results=results,
        )

    def results(self) -> Rows:
        """The evaluation, a row per source and the mean."""
        rows = dict(self.measured["sources"])
        if len(rows) > 1:
            rows["mean"] = self.measured["mean"]
        return [
            {"source": source, "test pairs": f"{row['n']:,}", **self._cells(row)}
            for source, row in rows.items()
        ]

    def _cells(self, row: SourceMeasures) -> dict[str, str]:
        if "perplexity" in row:
            return {
                name: with_interval(row[key], row.get(f"{key}_ci"), ".2f")
                for key, name in OF_POLICIES.items()
            }
        keys = ["accuracy", "ece", "ece_noise_floor", "nll", "longer_answer_accuracy"]
        if not self.is_calibrated:
            keys.insert(-1, "temperature")
        # Evaluations of earlier versions do not have every key.
        return {MEASURES[key].name: _cell(row, key) for key in keys}

    def own_heads(self) -> Rows:
        """After calibration, the temperature of each head, and what it is worth to its people."""
        assert self.heads is not None
        everybody = {"head": "everybody's", "T": f"{self.heads.shared_temperature:.3f}"}
        keys = ("accuracy", "ece", "ece_noise_floor")
        mean = self.evaluation.get("shared", self.evaluation)["mean"]
        return [
            everybody | {MEASURES[key].name: _cell(mean, key) for key in keys},
            *(
                {"head": name, "T": f"{temperature:.3f}"}
                | {MEASURES[key].name: _cell(self.evaluation["sources"][name], key) for key in keys}
                for name, temperature in zip(
                    self.heads.names, self.heads.temperature_K, strict=True
                )
            ),
        ]

    def data(self) -> Rows:
        """The sources: how many pairs, and from where."""
        learnt = self.config.data.train_on
        return [
            {
                "source": name,
                "training pairs": f"{count['train']:,}" if name in (learnt or [name]) else "none",
                "test pairs": f"{count['test']:,}",
                "from": self._origin(name, count.get("file")),
            }
            for name, count in (self.made.get("data") or {}).items()
        ]

    def _origin(self, name: str, file: str | None) -> str:
        if name in self.hub_data:
            return _link(f"datasets/{self.hub_data[name]}")
        if file and file.startswith(HUB):
            return f"`{_last_part(parse_hub(file).path)}`"
        return ", ".join(f"`{_last_part(url)}`" for url in file.split(",")) if file else "simulated"

    def longer_answer(self) -> str:
        """How often the longer answer would be right."""
        return _cell(self.measured["mean"], "longer_answer_accuracy")

    def settings(self) -> str:
        """How it was made, in a line."""
        config = self.config
        if isinstance(config, CalibrationConfig):
            return f"calibrated with fit={config.fit}, weights={config.weights}, seed={config.seed}"
        words = [f"{self.loss} loss", f"scheme {config.objective.scheme}"]
        if config.model.lora:
            words.append(f"LoRA of rank {config.model.lora.rank}")
        if config.model.trunk == "frozen":
            words.append("frozen trunk")
        words.append(f"{self.evaluation['step']:,} micro-batches")
        words.append(f"{config.train.pairs_per_source} pairs of a source in each")
        words += [f"learning rate {config.optimizer.lr:g}", f"seed {config.train.seed}"]
        return ", ".join(words)

    def versions(self) -> str:
        found = self.made.get("versions") or {}
        return ", ".join(f"{name} {number}" for name, number in found.items() if number)


def _cell(row: SourceMeasures, key: str) -> str:
    return with_interval(row.get(key), row.get(f"{key}_ci"), f".{MEASURES[key].digits}f")


def _is_on_hub(path: str) -> bool:
    """Whether the path of what was loaded is a name on the hub; otherwise it lies here."""
    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return path != "tiny" and not storage.exists(path)


def _named(path: str) -> str:
    """A model's name as the text says it."""
    if path == "tiny":
        return "a small LLaMA with random weights"
    return _link(path) if _is_on_hub(path) else f"`{_last_part(path)}`"


def _link(name: str) -> str:
    return f"[{name.removeprefix('datasets/')}](https://huggingface.co/{name})"


def _last_part(path: str) -> str:
    """The end of a path, which says what lies there and not where that is."""
    return posixpath.basename(path.rstrip("/"))


def _without_paths(made: Mapping[str, Any]) -> dict[str, Any]:
    """The environment without what names folders of the machine: the command, and files of data."""
    kept = {key: value for key, value in made.items() if key != "command"}
    if data := kept.get("data"):
        kept["data"] = {
            name: {key: value for key, value in count.items() if key != "file"}
            for name, count in data.items()
        }
    return kept
