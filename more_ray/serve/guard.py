"""The checks that a request must pass before its body is read: a bearer token, a size limit."""

from __future__ import annotations

import hashlib
import hmac
import os

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_VARIABLE = "MORE_RAY_TOKEN"
MAX_BODY = 4 * 2**20
"""Bytes that the body of a request may have."""
OPEN_PATHS = ("/healthz",)
"""Paths that answer without a token, as probes have none."""


def token_digest() -> str | None:
    """The digest of the token in the environment, None if unset; replicas get only this."""
    token = os.environ.get(TOKEN_VARIABLE)
    return _digest(token) if token else None


class Guard:
    """ASGI middleware: 401 without the token of `digest`, 413 for a body above `MAX_BODY`."""

    def __init__(self, app: ASGIApp, digest: str | None) -> None:
        self._app = app
        self._digest = digest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if not (scope["path"] in OPEN_PATHS or self._knows(headers.get("authorization", ""))):
            refusal = JSONResponse(
                {"detail": "a bearer token is required"}, 401, {"WWW-Authenticate": "Bearer"}
            )
            return await refusal(scope, receive, send)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return await JSONResponse({"detail": TOO_LARGE}, 413)(scope, receive, send)
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self._app(scope, bounded, send)

    def _knows(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if self._digest is None:
            return True
        return scheme.lower() == "bearer" and hmac.compare_digest(_digest(token), self._digest)


TOO_LARGE = f"the body is too large: {MAX_BODY} bytes are allowed"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
