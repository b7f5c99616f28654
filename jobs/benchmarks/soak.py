"""The reward service for half an hour under load, while its replicas are killed.

python jobs/benchmarks/soak.py model.path=outputs/mine/model

A third of the time one replica serves, as `jobs/serve_reward.py` does; then two replicas, as
`serve deploy` deploys them, and the model is replaced twice. Steady clients, bursts beyond the
queue, a slow client, one whose body never ends, one that sends half a body and one that leaves
early ask at the same time. Then rejection sampling, whose reward service is killed. Ends with
status 1 where a request was lost, doubled, answered with another's scores, or hung. Needs psutil.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field
from soak_clients import FAULTS, Question, Target, clients
from soak_service import Deployed, ask_for_tokens, free_ports, negated, running
from soak_watch import recovery, size_rows, watching

from more_ray.cli import load_config, user_errors
from more_ray.config import ModelConfig, Section
from more_ray.config.serve import ServeConfig

ONGOING, QUEUED = 16, 32
"""What a replica takes at a time, and what waits."""
PATIENCE = 6
"""A request counts as lost after so many times the service's timeout."""
Row = dict[str, Any]


class Soak(Section):
    model: ModelConfig
    """The reward model: a run's `model` folder."""
    minutes: float = Field(30, gt=0)
    """Of load in all; the starts and the sampling come on top."""
    kill_every: float = Field(60, gt=0)
    """Seconds from one kill of a replica to the next."""
    clients: int = Field(8, ge=1)
    """Steady clients."""
    rate: float = Field(5, gt=0)
    """Requests a second of each, at most."""
    burst: int = Field(128, ge=1)
    """Requests of a burst; a replica takes 16 and 32 may wait."""
    burst_every: float = Field(20, gt=0)
    """Seconds between bursts."""
    timeout: float = Field(20, gt=0)
    """Seconds after which the service ends a request."""
    margin: float = Field(5, gt=0)
    """Seconds more, after which a try without an answer counts as hung."""
    questions: int = Field(1_000, ge=200)
    """Different requests, of four answers each; those under way at a time are all different."""
    sampled: int = Field(400, ge=1)
    """Prompts of the rejection sampling."""
    look_every: float = Field(10, gt=0)
    """Seconds between looks at memory and file descriptors."""
    seed: int = Field(0, ge=0)
    """Of the choice which replica is killed."""
    results: str | None = None
    """Folder of the results. Unset: that of the other benchmarks."""


def main() -> None:
    config = load_config(Soak, sys.argv[1:], __doc__)
    from record import RESULTS, record
    from soak_sampling import sample_twice

    settings = config.model_dump(mode="json", exclude={"results"})
    # Processes of a cluster have other working directories.
    model = config.model.changed(path=str(Path(config.model.path).absolute()))
    config = config.changed(model=model)
    results = Path(config.results or RESULTS)
    # Sockets lie below it, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="mr-", dir="/tmp") as name, user_errors():
        folder = Path(name)
        load = Load(config, ask_for_tokens(folder))
        one_replica(load)
        two_replicas(load, folder)
        record("soak", settings, load.rows, results)
        record("soak_processes", settings, load.sizes, results)
        record("soak_kills", settings, load.kills, results)
        sampled = sample_twice(model, folder, config.sampled, config.kill_every)
        record("soak_sampling", settings, [sampled], results)
    if any(row.get(fault) for row in [*load.rows, sampled] for fault in FAULTS):
        sys.exit(1)


class Load:
    """Clients and kills on a service that runs, and the rows that they leave."""

    def __init__(self, config: Soak, token: str) -> None:
        self.config = config
        self.target = Target(
            port=free_ports(1)[0],
            token=token,
            timeout=config.timeout,
            margin=config.margin,
            patience=PATIENCE * config.timeout,
            questions=itertools.cycle(questions(config)),
        )
        self.rows: list[Row] = []
        self.sizes: list[Row] = []
        self.kills: list[Row] = []

    def run(self, part: str, meanwhile: Callable[[], list[float]]) -> None:
        """Load for as long as `meanwhile` takes, which returns the seconds of redeployments."""
        print(f"{time.strftime('%T')} {part}", flush=True)
        with clients(self.target, self.config) as seen, watching(running, self.config) as watched:
            redeployed = meanwhile()
        self.rows += [{"part": part, "client": name, **one.row()} for name, one in seen.items()]
        self.sizes += size_rows(part, watched)
        seconds = ", ".join(f"{one:.0f}" for one in redeployed)
        spans = seen["steady"].spans
        self.kills.append({"part": part, **recovery(watched, spans), "redeployed in s": seconds})

    def served(self, replicas: int) -> ServeConfig:
        return ServeConfig(
            model=self.config.model,
            port=self.target.port,
            min_replicas=replicas,
            max_replicas=replicas,
            max_ongoing=ONGOING,
            max_queued=QUEUED,
            timeout=self.config.timeout,
            threads=1,
        )


def one_replica(load: Load) -> None:
    """A third of the time, as `jobs/serve_reward.py` serves."""
    from more_ray.cluster import session

    def wait() -> list[float]:
        time.sleep(60 * load.config.minutes / 3)
        return []

    with session(1, verbose=False):
        import ray

        from more_ray.serve.app import serving

        with serving(load.served(1)):
            load.run("one replica", wait)
        ray.shutdown()


def two_replicas(load: Load, folder: Path) -> None:
    """The rest of the time, as `serve deploy` serves: the first model, the second, the first."""
    models = {1: load.config.model.path, -1: negated(load.config.model.path, folder / "negated")}
    service = Deployed(load.served(2), folder)

    def deploy(sign: int) -> float:
        load.target.signs = (1, -1)
        seconds = service.deploy(models[sign])
        time.sleep(1)  # until the proxy knows, too
        load.target.signs = (sign,)
        return seconds

    def redeploy() -> list[float]:
        third = 60 * load.config.minutes * 2 / 9
        seconds = []
        for sign in (-1, 1):
            time.sleep(third)
            seconds.append(deploy(sign))
        time.sleep(third)
        return seconds

    with service.cluster():
        deploy(1)
        load.run("two replicas", redeploy)


def questions(config: Soak) -> list[Question]:
    """Simulated prompts with answers that occur once, and their scores without a service."""
    from more_ray.data.simulated import Simulator
    from more_ray.model.scorer import Scorer

    simulator, scorer = Simulator(1), Scorer(config.model)
    (source,) = simulator.names()
    found = []
    for number, pair in enumerate(simulator.pairs(source, "test", 0, config.questions)):
        texts = [f"{text} ({number})" for text in (pair.chosen, pair.rejected)]
        responses = [*texts, *(f"{text} {text}" for text in texts)]
        request = {"prompt": list(pair.prompt), "responses": responses}
        scores = scorer.score(request["prompt"], responses)
        found.append(Question(json.dumps(request).encode(), scores))
    return found


if __name__ == "__main__":
    main()
