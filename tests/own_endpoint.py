"""An OpenAI-compatible endpoint over real HTTP that says what a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], str]
"""Status, headers and body."""
Answering = Callable[[int, dict[str, Any]], Reply]
TOKENS = 10
"""What every answer is said to have."""
NO_COMPLETIONS = (
    '{"choices": []}',
    '{"error": "full"}',
    "[1]",
    "null",
    '"text"',
    '{"choices": "text"}',
    '{"choices": [{"text": "of another API"}]}',
    '{"choices": [{"message": null}]}',
    '{"choices": [{"message": {"content": [{"type": "text", "text": "in parts"}]}}]}',
)
"""Bodies that come with status 200."""


def says(*texts: str, finish_reason: str = "stop", logprobs: list[float] | None = None) -> Reply:
    """A completion with these answers; each with tokens of these log-probabilities."""
    content = [
        {"token": "a", "bytes": None, "top_logprobs": [], "logprob": one} for one in logprobs or []
    ]
    choices = [
        {
            "index": index,
            "finish_reason": finish_reason,
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": content} if logprobs else None,
        }
        for index, text in enumerate(texts)
    ]
    tokens = TOKENS * len(texts)
    usage = {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
    return 200, {}, json.dumps({**body, "choices": choices})


def question_of(request: dict[str, Any]) -> str:
    return request["messages"][0]["content"]


class Endpoint:
    """Answers the request number n by `reply(n, request)`; keeps when each came."""

    def __init__(self, reply: Answering) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        lock, endpoint = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    endpoint.at_once += 1
                    endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
                    number = len(endpoint.requests)
                    endpoint.requests.append(request)
                    endpoint.times.append(time.monotonic())
                status, headers, body = endpoint.reply(number, request)
                with lock:
                    endpoint.at_once -= 1
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(BrokenPipeError):  # who asked has given up
                    self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # It looks that often whether it shall end.
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    @property
    def questions(self) -> list[str]:
        return [question_of(request) for request in self.requests]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
