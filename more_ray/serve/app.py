"""The reward service as a Serve application, for this machine and for `serve deploy`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from more_ray.cluster import WORKER_ENVIRONMENT, uses_gpu
from more_ray.config import ModelConfig
from more_ray.errors import UserError
from more_ray.model.loading import check_reward_model
from more_ray.serve.config import ServeConfig
from more_ray.serve.guard import TOKEN_VARIABLE, token_digest
from more_ray.serve.service import RewardService

NAME = "reward"
"""Of the application: `serve.get_app_handle("reward")`."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeError(UserError):
    """Why the service cannot start."""


def build_app(args: ServeConfig) -> Application:
    """What a Serve config file names as `import_path`; always asks for the token.

    Raises:
        ServeError: there is no token in the environment.
    """
    return make_app(args, required_digest())


def required_digest() -> str:
    digest = token_digest()
    if digest is None:
        raise ServeError(
            f"host: any but a loopback address asks for a token; {TOKEN_VARIABLE} is not set"
        )
    return digest


def make_app(config: ServeConfig, digest: str | None) -> Application:
    """The deployment of `config`; with `digest`, requests need the token that has it.

    Raises:
        ModelError: `model.path` is no reward model.
    """
    check_reward_model(config.model)
    use_gpu = uses_gpu(config.use_gpu, config.max_replicas)
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
        ray_actor_options={
            "num_cpus": int(not use_gpu),
            "num_gpus": int(use_gpu),
            "runtime_env": {"env_vars": WORKER_ENVIRONMENT},
        },
        health_check_period_s=5,
        graceful_shutdown_timeout_s=30,
        logging_config=LoggingConfig(encoding="JSON"),
    )
    return deployment.bind(config, digest)


@contextmanager
def serving(config: ServeConfig) -> Iterator[str]:
    """Serve while the block runs, then finish what has begun; gives the address.

    Raises:
        ServeError: the port is taken, or an address that is not loopback without a token.
        ModelError: `model.path` is no reward model.
    """
    digest = token_digest() if config.host in LOOPBACK else required_digest()
    app = make_app(config, digest)
    _check_port(config)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": config.host,
            "port": config.port,
            "request_timeout_s": config.timeout,
        },
        logging_config=LoggingConfig(encoding="JSON"),
    )
    try:
        serve.run(app, name=NAME, route_prefix="/")
        yield f"http://{config.host}:{config.port}"
    finally:
        serve.delete(NAME)  # waits for the requests under way, while the proxy is still there
        serve.shutdown()


@contextmanager
def scoring(model: ModelConfig, name: str) -> Iterator[None]:
    """Serve to handles only, as the application `name`, while the block runs.

    Raises:
        ModelError: `model.path` is no reward model.
    """
    serve.start(proxy_location="Disabled", logging_config=LoggingConfig(encoding="JSON"))
    serve.run(make_app(ServeConfig(model=model), digest=None), name=name, route_prefix=None)
    try:
        yield
    finally:
        serve.delete(name)


def _check_port(config: ServeConfig) -> None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((config.host, config.port))
        except OSError as error:
            address = f"{config.host}:{config.port}"
            raise ServeError(f"port: cannot listen on {address}: {error.strerror}") from error
