"""Scores by vLLM's pooling server on a CPU, over HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import Any

import requests
from exchange import answer, question

SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "2",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
RAW = {"use_activation": False}
"""Rewards, not their sigmoid."""


def post(path: str, **body: Any) -> list[dict[str, Any]]:
    response = requests.post(f"{url}/{path}", json={"model": asked["model"], **body, **RAW})
    response.raise_for_status()
    return sorted(response.json()["data"], key=lambda one: one["index"])


asked = question()
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
url = f"http://127.0.0.1:{port}"
# Not `vllm serve`, which asks for the version of a package `vllm`; that for CPUs has another name.
command = [
    *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", asked["model"]),
    *("--port", str(port), "--runner", "pooling", "--dtype", "float32", "--enforce-eager"),
]
server = subprocess.Popen(command, env={**os.environ, **SETTINGS})
try:
    while True:
        time.sleep(1)
        assert server.poll() is None, "the server ended"
        try:
            requests.get(f"{url}/health", timeout=5).raise_for_status()
            break
        except requests.RequestException:
            continue
    classified = [one["probs"][0] for one in post("classify", input=asked["texts"])]
    pooled = [one["data"][0] for one in post("pooling", input=asked["texts"], task="classify")]
finally:
    server.terminate()
    server.wait()
answer("vllm-cpu", classify=classified, pooling=pooled)
