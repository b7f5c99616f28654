"""Connecting to Ray: to a running cluster, or to a local cluster that it starts.

A job runs a single verb in its own process. In a notebook several verbs follow each other and share
a cluster while it is large enough.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

# In a notebook without ipywidgets, Ray and tqdm would each ask for it when they are imported.
logging.getLogger("ray.widgets").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="IProgress not found")

import ray  # noqa: E402
import ray.data  # noqa: E402
from ray.exceptions import RayTaskError  # noqa: E402

from more_ray import fork_server  # noqa: E402
from more_ray.errors import UserError, as_raised  # noqa: E402
from more_ray.job_folder import starting_here  # noqa: E402

TOKEN_FILE = Path("~/.cache/more_ray/ray_token").expanduser()

WORKER_ENVIRONMENT = {
    # glibc hands large freed blocks back to the system and faults them in again at every step;
    # keeping them makes a CPU step about 1.3 times as fast. Other allocators ignore these.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    # Ray Train runs the loop in a thread, and only the first arena can grow without bounds.
    "MALLOC_ARENA_MAX": "1",
}
ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
"""For work without a GPU: Ray does not hide GPUs from it, and DeepSpeed would take one."""
ON_GPU = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
"""Steps differ in their number of tokens, so memory blocks of fixed size would not be reused."""

_sessions: list[int] = []
"""The number of workers of each session under way."""
_own: set[str] = set()
"""Addresses of the local clusters that this process has started."""


RETRIES = {"max_task_retries": 3}
"""Retries of a block whose actor died; by default Ray Data retries for ever."""


@contextmanager
def session(workers: int, verbose: bool) -> Iterator[None]:
    """The surroundings of a verb's work: quiet libraries and a cluster.

    Import the libraries inside the `with` block: importing them prints messages and takes seconds,
    which a wrong key on the command line should not.

    Raises:
        UserError: as `connect` does; those of tasks as they were raised there.
    """
    if not verbose:
        quieten()
    with _interrupted_at_the_end():
        # Almost every verb needs this import of seconds; it can run while the cluster starts.
        importing = threading.Thread(target=import_module, args=["more_ray.model.loading"])
        importing.start()
        connect(workers, verbose)
        importing.join()  # or two threads that import a library may meet half of it
    _sessions.append(workers)
    try:
        yield
    except RayTaskError as error:
        if isinstance(error, UserError):
            raise as_raised(error) from None
        raise
    finally:
        _sessions.pop()


@contextmanager
def _interrupted_at_the_end() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block.

    In the middle of an import it can leave a lock behind that another thread then waits for. A
    second one does not wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def press(*_: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed.is_set():
        raise KeyboardInterrupt


@cache  # or filters would pile up
def quieten() -> None:
    """Keep the libraries' messages off the terminal; call it before they are imported."""
    # Filters, as these libraries set the level of their loggers themselves.
    for name in ("DeepSpeed", "ray.serve"):
        logging.getLogger(name).addFilter(lambda record: record.levelno >= logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised, too
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # It is the only way to set the retries of a data actor's task, until Ray has another.
    warnings.filterwarnings("ignore", message="`ray_remote_args_fn` is deprecated")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's new output ignores verbose=0
    # Ray warns that a default will change; nothing here depends on it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def cluster_address() -> str | None:
    """The cluster that jobs join; None (also for an empty `RAY_ADDRESS`) for a local cluster."""
    return os.environ.get("RAY_ADDRESS") or None


def connect(workers: int, verbose: bool, **local: Any) -> None:
    """Use the Ray of this process, join the cluster of `RAY_ADDRESS` (as `ray job submit` sets it)
    or start a local one.

    A local cluster declares enough CPUs for the workers and their data tasks, even on a machine
    that has fewer: otherwise the two would wait for each other. It asks for a token, kept in a
    file that only its user can read. A later call that needs more CPUs replaces it; a cluster that
    somebody else started is never changed.

    Args:
        local: further options of `ray.init`, for a local cluster.

    Raises:
        UserError: there is no cluster at `RAY_ADDRESS`, or it refuses the token; or the local
            cluster is too small and has work under way, such as a reward service.
    """
    cpus = max(os.cpu_count() or 1, sum(_sessions) + workers + 3)
    if ray.is_initialized() and _is_too_small(cpus):
        if _sessions:
            raise UserError(
                f"a local Ray of {cpus} CPUs is needed; the work under way, such as a reward "
                "service, runs on a smaller cluster: end that work first"
            )
        ray.shutdown()
    if not ray.is_initialized():
        _start(cpus, verbose, local)
    ray.data.DataContext.get_current().enable_progress_bars = verbose


def _is_too_small(cpus: int) -> bool:
    """Whether the local cluster has too few CPUs; never true for a cluster of somebody else."""
    own = ray.get_runtime_context().gcs_address in _own
    return own and ray.cluster_resources()["CPU"] < cpus


def _start(cpus: int, verbose: bool, local: dict[str, Any]) -> None:
    """Join or start a cluster where this process has none."""
    level = logging.INFO if verbose else logging.ERROR
    options = {"log_to_driver": verbose, "logging_level": level}
    if address := cluster_address():
        _join(address, options)
    else:
        # Ray asks for a token by itself, but would keep it where every user can read it.
        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(_token_file()))
        # Data tasks ask for parts of a CPU; Ray would warn of more processes than real CPUs.
        os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(4 * cpus))
        # This machine is not preempted, so no process need watch for that.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        if _can_fork_workers():
            # Workers that Ray starts in advance would not be forks.
            os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
            options["runtime_env"] = {"py_executable": _forks()}
        # Without "local", Ray would try to join a cluster that `ray start` left on this machine.
        ray.init("local", num_cpus=cpus, include_dashboard=False, **options, **local)
        _own.add(ray.get_runtime_context().gcs_address)


@cache  # a single server serves every cluster of this process
def _forks() -> str:
    return fork_server.start(WORKER_ENVIRONMENT)


def _can_fork_workers() -> bool:
    """Whether workers can be forks: CUDA once probed, and macOS's libraries, do not survive it."""
    return sys.platform == "linux" and not any(Path("/dev").glob("nvidia*"))


def uses_gpu(wanted: bool | None, workers: int) -> bool:
    """Whether workers use GPUs: `wanted`; if None, whether the cluster has a GPU per worker."""
    return ray.cluster_resources().get("GPU", 0) >= workers if wanted is None else wanted


def shared_gpus(wanted: bool | None, workers: int) -> float:
    """GPUs for each of `workers` and for a service that runs with them: half a GPU each where the
    cluster has too few for a full GPU each, 0 where `uses_gpu` says no."""
    if not uses_gpu(wanted, -(-(workers + 1) // 2)):
        return 0
    return 1 if ray.cluster_resources().get("GPU", 0) > workers else 0.5


def worker_environment(use_gpu: bool) -> dict[str, str]:
    """The environment variables of a process that runs a model."""
    return WORKER_ENVIRONMENT | (ON_GPU if use_gpu else ON_CPU)


def worker_options(gpus: float) -> dict[str, Any]:
    """The options of a Ray task or actor that runs a model on `gpus` GPUs, or on a CPU if 0."""
    return {
        "num_gpus": gpus,
        "num_cpus": int(not gpus),
        "runtime_env": {"env_vars": worker_environment(gpus > 0)},
    }


def _join(address: str, options: dict[str, Any]) -> None:
    if address.startswith("http"):
        raise UserError(
            f"RAY_ADDRESS: {address} is where `ray job submit` sends jobs; a script that "
            "runs here joins HOST:PORT of the head"
        )
    host, _, port = address.rpartition(":")
    try:
        if port.isdigit() and "/" not in host:
            # Ray itself would retry for a quarter of an hour.
            socket.create_connection((host, int(port)), timeout=10).close()
        if not _is_submitted():  # Ray gives the workers of those their folder
            options["runtime_env"] = starting_here()
        ray.init(**options)
    except (OSError, ValueError, ray.exceptions.AuthenticationError) as error:
        refused = isinstance(error, ray.exceptions.AuthenticationError)
        if refused or "InvalidAuthToken" in str(error.__cause__):
            raise UserError(
                f"RAY_ADDRESS: {address} asks for another token; RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN_PATH=FILE name the cluster's token"
            ) from error
        raise UserError(f"RAY_ADDRESS: cannot join {address}: {error}") from error


def _is_submitted() -> bool:
    """Whether `ray job submit` runs this process."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _token_file() -> Path:
    if not TOKEN_FILE.exists():
        TOKEN_FILE.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # of another that starts now
            handle = os.open(TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as stream:
                stream.write(secrets.token_hex(32))
    return TOKEN_FILE
