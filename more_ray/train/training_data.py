"""The object that Ray Train asks for the workers' stream each time they start."""

from __future__ import annotations

from typing import Any

import ray.data
import ray.train

from more_ray.data.mixture import Mixture
from more_ray.data.prepared import Prepared
from more_ray.data.stream import training_stream
from more_ray.train import checkpoint_record


class TrainingData(ray.train.DataConfig):
    """Makes the data set `train` at each start: from the step to resume at, for these workers."""

    def __init__(self, output_dir: str, prepared: Prepared, mixture: Mixture, steps: int) -> None:
        in_order = ray.data.ExecutionOptions(preserve_order=True)
        super().__init__(execution_options=in_order)
        self._output_dir, self._steps = output_dir, steps
        self._prepared, self._mixture = prepared, mixture

    def configure(
        self, datasets: dict[str, ray.data.Dataset], world_size: int, *args: Any, **kwargs: Any
    ) -> list[dict[str, ray.data.DataIterator]]:
        """See `ray.train.DataConfig`; `datasets` is ignored."""
        done = checkpoint_record.steps_done(self._output_dir)
        stream = training_stream(self._prepared, self._mixture, world_size, done, self._steps)
        return super().configure({"train": stream}, world_size, *args, **kwargs)
