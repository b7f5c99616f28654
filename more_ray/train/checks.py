"""Checks before workers start: errors that stop a run, and warnings about its data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.data.mixture import Mixture
from more_ray.data.names import chosen_names, source_names
from more_ray.data.prepare import counted
from more_ray.data.prepared import Prepared
from more_ray.errors import UserError
from more_ray.model.fingerprint import fingerprint
from more_ray.objective.schemes import make_weighting
from more_ray.run_folder import ENVIRONMENT
from more_ray.train.trackers import missing_tracker


def doubts(config: RunConfig, prepared: Prepared) -> Iterator[str]:
    """Warnings about the data and the model, each a line of text."""
    data = config.data
    if config.model.path == "tiny" and (data.root or data.sources):
        yield "model.path is tiny, whose weights are random; name a model to train it"
    for source, count in prepared.manifest["sources"].items():
        if count["leaked"] and data.on_leak == "warn":
            yield (
                f"{source}: {count['leaked']:,} of {count['train']:,} training pairs have the "
                "prompt of a test pair (data.on_leak)"
            )
        if rejects := count["rejected"]:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in rejects.items())
            yield f"{source}: left out {reasons} (rejects.jsonl in {prepared.folder})"
        if columns := count.get("unread"):
            yield f"{source}: columns that are not read: {', '.join(columns)}"


def check_pairs(output_dir: str, pairs: dict[str, dict[str, int]]) -> None:
    """Check that a run resumes with as many pairs as it started with.

    Args:
        pairs: numbers of pairs (and of records of ranked answers), by kind and source.

    Raises:
        UserError: the run in the folder started with other numbers.
    """
    path = storage.join(output_dir, ENVIRONMENT)
    if not storage.exists(path):
        return
    before = storage.read_json(path)
    for kind, now in pairs.items():
        # Earlier versions counted no records: they drew pair after pair.
        then = before.get(kind, {} if kind == "training_records" else now)
        changed = [name for name in sorted(then | now) if then.get(name) != now.get(name)]
        if changed:
            raise UserError(
                f"output_dir: {output_dir} holds a run on other data: the number of "
                f"{kind.replace('_', ' ')} of {', '.join(changed)} has changed; choose another "
                "folder or delete this one"
            )


def inputs_of(config: RunConfig, prepared: Prepared) -> dict[str, Any]:
    """What a run learns from, as `environment.json` notes it: `data`, by source, and the `model`
    that it begins with, a fingerprint."""
    return {"data": counted(config.data, prepared), "model": fingerprint(config.model)}


def check_inputs(config: RunConfig, inputs: dict[str, Any]) -> None:
    """Check that a run goes on with the pairs and the model that it began with.

    Raises:
        UserError: the run in the folder began with others. (Earlier versions noted neither.)
    """
    path = storage.join(config.output_dir, ENVIRONMENT)
    before = storage.read_json(path) if storage.exists(path) else {}
    again = "choose another folder or delete this one"
    if before.get("model") not in (None, inputs["model"]):
        raise UserError(
            f"output_dir: {config.output_dir} holds a run of another model than model.path is now "
            f"({config.model.path}); {again}"
        )
    data = before.get("data") or {}
    for name, count in inputs["data"].items():
        then, now = data.get(name, {}).get("digest"), count.get("digest")
        if then and now and then != now:
            raise UserError(
                f"output_dir: {config.output_dir} holds a run on other data: pairs of {name} have "
                f"changed; {again}"
            )


def check_settings(config: RunConfig) -> None:
    """Check the settings against the installed packages and the names of the sources.

    Raises:
        UserError: a tracker is not installed, or `objective.weights` does not name the sources.
    """
    if tracker := missing_tracker(config):
        raise UserError(f"log.{tracker}: pip install {tracker} first")
    names = chosen_names(config.data, source_names(config.data))
    try:
        make_weighting(config.objective, names, [1] * len(names))  # for any sizes
    except ValueError as error:
        raise UserError(str(error)) from error


def check_batch(config: RunConfig, mixture: Mixture) -> None:
    """Check that a micro-batch has a pair for each worker; raises UserError if not."""
    if mixture.fewest_pairs < config.train.workers:
        raise UserError(
            f"train.pairs_per_source: {config.train.pairs_per_source} given; "
            f"{config.train.workers} workers need at least one pair each in every micro-batch"
        )
