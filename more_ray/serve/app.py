"""The reward service as a Serve application, for this machine and for `serve deploy`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from more_ray import storage
from more_ray.cluster import uses_gpu, worker_options
from more_ray.config import ModelConfig
from more_ray.config.serve import ServeConfig
from more_ray.errors import UserError, last_line
from more_ray.model.loading import check_reward_model, load_reward_tokenizer
from more_ray.serve.guard import TOKEN_VARIABLE, token_digest
from more_ray.serve.port import check_port
from more_ray.serve.service import RewardService

NAME = "reward"
"""The name of the application: `serve.get_app_handle("reward")`."""
LOOPBACK = ("127.0.0.1", "localhost")
LOGGING = LoggingConfig(encoding="JSON")
SERVE_ENVIRONMENT = {"RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5"}
"""Its controller looks around every 0.1 s by default, which takes 8% of a core."""


def build_app(args: dict[str, Any]) -> Application:
    """The `import_path` for Serve config files; always asks for the token.

    Args:
        args: fields of a `ServeConfig`; address and time limit come from the deploying Serve.

    Raises:
        UserError: there is no token in the environment.
    """
    return make_app(ServeConfig.model_validate(args), required_digest())


def required_digest() -> str:
    digest = token_digest()
    if digest is None:
        raise UserError(
            f"host: any but a loopback address asks for a token; {TOKEN_VARIABLE} is not set"
        )
    return digest


def make_app(
    config: ServeConfig,
    digest: str | None,
    gpus: float | None = None,
    listen: dict[str, Any] | None = None,
) -> Application:
    """The deployment of `config`; with `digest`, requests need the token of that digest.

    Args:
        gpus: GPUs of a replica; unset, what `config.use_gpu` says.
        listen: `host` and `port` on which the replica itself listens.

    Raises:
        ModelError: `model.path` is no reward model, or has no tokenizer.
    """
    check_reward_model(config.model, config.max_length)
    load_reward_tokenizer(config.model, config.max_length)
    if gpus is None:
        gpus = _gpus_of_a_replica(config)
    deployment = serve.deployment(serve.ingress()(RewardService)).options(
        name="RewardService",
        autoscaling_config={
            "min_replicas": config.min_replicas,
            "max_replicas": config.max_replicas,
            "target_ongoing_requests": max(1, config.max_ongoing // 2),
        },
        max_ongoing_requests=config.max_ongoing,
        max_queued_requests=config.max_queued,
        backpressure_config={"retry_after_s": 1},
        ray_actor_options=worker_options(gpus),
        health_check_period_s=5,
        graceful_shutdown_timeout_s=config.timeout,
        logging_config=LOGGING,
        user_config=listen,
    )
    return deployment.bind(config, digest, "cuda" if gpus else "cpu")


@contextmanager
def serving(config: ServeConfig) -> Iterator[str]:
    """Serve while the `with` block runs, then finish the requests under way; gives the address.

    Raises:
        UserError: the port is taken, an address that is not loopback without a token, the model
            does not load, or the cluster serves already.
        ModelError: `model.path` is no reward model.
    """
    digest = token_digest() if config.host in LOOPBACK else required_digest()
    status = serve.status()
    if status.proxies or status.applications:
        raise UserError(
            "this cluster runs Ray Serve already, with its own address and guards; deploy "
            "more_ray.serve.app:build_app there"
        )
    gpus = _gpus_of_a_replica(config)
    direct = answers_directly(config, gpus)
    address = {"host": config.host, "port": config.port}
    app = make_app(config, digest, gpus, address if direct else None)
    check_port(config)
    serve.shutdown()  # a Serve that was started for handles only has no proxy
    _start(
        proxy_location="Disabled" if direct else "HeadOnly",
        http_options={**address, "request_timeout_s": config.timeout},
    )
    try:
        _deploy(app, NAME, None if direct else "/")
        yield f"http://{config.host}:{config.port}"
    finally:
        _finish(NAME)  # while the proxy still runs
        serve.shutdown()


@contextmanager
def scoring(model: ModelConfig, output_dir: str, gpus: float | None = None) -> Iterator[str]:
    """Serve to handles only while the `with` block runs; gives the name of the application.

    The application belongs to `output_dir`: two jobs on a cluster each have their own, and a job
    that is restarted after a kill takes over its earlier application.

    Args:
        gpus: GPUs of the replica; unset, 1 where the cluster has a GPU.

    Raises:
        UserError: the model does not load.
        ModelError: `model.path` is no reward model.
    """
    name = f"scores-{storage.short_name(output_dir)}"
    app = make_app(ServeConfig(model=model), digest=None, gpus=gpus)
    _start(proxy_location="Disabled")
    try:
        _deploy(app, name, None)
        yield name
    finally:
        _finish(name)


def answers_directly(config: ServeConfig, gpus: float) -> bool:
    """Whether the replica listens itself: there is one, on the only machine of the cluster."""
    alone = config.max_replicas == 1 and all_on_one_machine(ray.nodes(), gpus)
    if config.direct and not alone:
        raise UserError("direct: true is for a single replica (max_replicas=1) on one machine")
    return alone if config.direct is None else config.direct


def all_on_one_machine(nodes: Sequence[dict[str, Any]], gpus: float) -> bool:
    """Whether the only node can run a replica: otherwise the cluster starts another one for it."""
    alive = [node for node in nodes if node["Alive"]]
    name, needed = ("GPU", gpus) if gpus else ("CPU", 1)
    return len(alive) == 1 and alive[0]["Resources"].get(name, 0) >= needed


def _gpus_of_a_replica(config: ServeConfig) -> int:
    return int(uses_gpu(config.use_gpu, config.max_replicas))


def _start(**options: Any) -> None:
    """Start Serve's processes with `SERVE_ENVIRONMENT`, which they take from what starts them."""
    start = ray.remote(num_cpus=0)(serve.start)
    environment = {"env_vars": SERVE_ENVIRONMENT}
    ray.get(start.options(runtime_env=environment).remote(logging_config=LOGGING, **options))


def _deploy(app: Application, name: str, route_prefix: str | None) -> None:
    try:
        serve.run(app, name=name, route_prefix=route_prefix)
    except RuntimeError as error:
        raise UserError(f"the reward model cannot be served: {last_line(error)}") from error


def _finish(name: str) -> None:
    """Delete an application once its requests have ended."""
    while name in serve.status().applications:
        try:
            serve.delete(name)
        except TimeoutError:  # after a minute, while replicas may take as long as a request
            continue
