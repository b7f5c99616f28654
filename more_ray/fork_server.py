"""Worker processes of a local cluster, forked from a process that has imported what they need.

Ray starts a new Python for every actor and every worker, and importing torch, transformers and
DeepSpeed takes each of them seconds of processor time. Here a server process imports them once; a
worker is a fork of it, which costs milliseconds and shares its memory. Ray is not imported before
the fork: it reads its settings at import.

Ray starts this file in place of Python (`py_executable`), as `fork_server.py SOCKET WORKER.py ...`.
It asks the server at SOCKET for a fork that runs WORKER.py, or runs WORKER.py itself where there is
no server. Hence no import at the top that takes time.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress

MODULES = ("pandas", "more_ray.train.step", "more_ray.model.export")
"""They import all that is slow: torch, transformers, DeepSpeed, pyarrow."""


def start(environment: dict[str, str]) -> str:
    """Start a server that ends with this process; returns the `py_executable` that uses it.

    Args:
        environment: variables that are only read when a process starts, such as an allocator's.
    """
    import shlex
    import subprocess
    import tempfile

    path = os.path.join(tempfile.mkdtemp(prefix="more_ray-fork-"), "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    # Ray gives its actors one thread each by this variable, which torch reads when it is imported.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    subprocess.Popen(
        [sys.executable, "-m", "more_ray.fork_server", "--serve", path, str(listener.fileno())],
        stdin=subprocess.PIPE,  # ends with this process, and then the server ends
        env=environment,
        pass_fds=[listener.fileno()],
    )
    listener.close()
    return shlex.join([sys.executable, "-S", "-E", __file__, path])


def serve(path: str, listener: socket.socket) -> None:
    """Import, then fork a worker for each request, until standard input ends."""
    import gc
    import importlib
    import logging
    import select
    import shutil
    import signal
    import warnings

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all processes of a job
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers
    # DeepSpeed warns where there is no GPU.
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)
    # From Python 3.12 on it warns of threads of imported libraries; they are idle at every fork.
    warnings.filterwarnings("ignore", message="This process .* is multi-threaded")
    for name in MODULES:
        importlib.import_module(name)
    sys.path.pop(0)  # this process's folder
    gc.collect()
    gc.freeze()  # objects that the collector never touches stay shared
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        # Nothing is forked if the client has gone, or no further process can be started.
        with connection, suppress(OSError, ValueError):
            request, files = _receive(connection)
            try:
                if os.fork() == 0:
                    listener.close()
                    connection.close()
                    _run(files, **request)
                connection.sendall(b"forked")
            finally:
                for file in files:
                    os.close(file)
    shutil.rmtree(os.path.dirname(path))


def ask(path: str, worker: list[str]) -> None:
    """Have the server fork `worker`, in this environment, with these standard streams."""
    request = {"argv": worker, "environment": dict(os.environ), "folder": os.getcwd()}
    body = json.dumps(request).encode()
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [len(body).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(body)
        if connection.recv(6):
            return
    os.execv(sys.executable, [sys.executable, *worker])


def _receive(connection: socket.socket) -> tuple[dict, list[int]]:
    size, files, *_ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as stream:
        return json.loads(stream.read(int.from_bytes(size, "big"))), files


def _run(files: list[int], argv: list[str], environment: dict[str, str], folder: str) -> None:
    """Become the worker; does not return."""
    import random
    import runpy
    import signal
    import traceback

    import numpy as np

    code = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = argv
        random.seed()  # not as in every other fork
        np.random.seed()
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2], socket.socket(fileno=int(sys.argv[3])))
    else:
        ask(sys.argv[1], sys.argv[2:])
