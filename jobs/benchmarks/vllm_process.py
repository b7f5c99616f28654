"""vLLM's server on a CPU, for benchmarks."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def vllm_server(
    python: str, model: str, port: int, options: Sequence[str], threads: int | None = None
) -> Iterator[str]:
    """Serves a model's folder on loopback while the `with` block runs; gives the address.

    Args:
        python: the Python that has vLLM.
    """
    # Not `vllm serve`, which asks for the version of a package `vllm`; that for CPUs has another
    # name.
    command = [
        *(python, "-m", "vllm.entrypoints.openai.api_server", "--model", model),
        *("--host", "127.0.0.1", "--port", str(port), *options),
    ]
    cores = str(threads or os.cpu_count() or 1)
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": cores}
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while True:
            assert server.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        yield url
    finally:
        server.terminate()
        server.wait()
