"""The HTTP server of a replica that clients reach without Serve's proxy.

The proxy passes a request through two more processes, which takes longer than all else around a
forward pass (`jobs/benchmarks/serving.py`). A service of one replica on one machine has nothing to
spread: it listens itself, and keeps what the proxy promises. Requests beyond a number are refused
with 503, those that take too long end with 408, and nothing is computed for clients that have left.
"""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEEP_ALIVE = 90
"""Seconds that an idle connection stays open, as with Serve's proxy."""


class Listener:
    """Serves an ASGI app on an address, in the running event loop."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._address = (host, port)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                timeout_keep_alive=KEEP_ALIVE,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Raises OSError where the address cannot be listened on."""
        listener = socket.create_server(self._address, backlog=2_048)
        self._serving = asyncio.create_task(self._server.serve([listener]))

    async def stop(self) -> None:
        """Take no more requests, and finish those under way."""
        self._server.should_exit = True
        if self._serving:
            await self._serving


class Bounded:
    """ASGI middleware: at most `most` requests under way, each for at most `timeout` seconds."""

    def __init__(self, app: ASGIApp, most: int, timeout: float) -> None:
        self._app = app
        self._most = most
        self._timeout = timeout
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._under_way >= self._most:
            refusal = JSONResponse({"detail": "the queue is full"}, 503, {"Retry-After": "1"})
            return await refusal(scope, receive, send)
        self._under_way += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._under_way -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        received: asyncio.Queue[Message] = asyncio.Queue(maxsize=8)

        async def receive_until_gone() -> None:
            while (message := await receive())["type"] != "http.disconnect":
                await received.put(message)

        answer = asyncio.ensure_future(self._app(scope, received.get, send))
        gone = asyncio.create_task(receive_until_gone())
        tasks = {answer, gone}
        try:
            done, _ = await asyncio.wait(
                tasks, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if answer in done:
            answer.result()
        elif not done:
            late = JSONResponse({"detail": f"no answer within {self._timeout:g} s"}, 408)
            await late(scope, receive, send)
