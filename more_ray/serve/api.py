"""The HTTP side of the reward service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse

from more_ray.data.rejects import InvalidRecord
from more_ray.metrics.calibration import sigmoid
from more_ray.serve.guard import Guard
from more_ray.serve.schemas import (
    Info,
    RewardRequest,
    RewardResponse,
    ScoreRequest,
    ScoreResponse,
)

REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The bearer token is missing or wrong."},
    413: {"description": "The body is too large."},
    500: {"description": "The model gives an answer no finite score."},
    503: {"description": "The queue is full; Retry-After says when to try again."},
}


class NotFiniteError(Exception):
    """The model gives an answer a score that is NaN or infinite."""


class Service(Protocol):
    """The service that the API passes requests to."""

    info: Info

    async def score(self, prompt: Any, responses: Sequence[str]) -> list[float]: ...

    async def score_texts(
        self, texts: Sequence[str], prompts: Sequence[str] | None
    ) -> list[float]: ...


def make_api(service: Service, digest: str | None) -> FastAPI:
    """An ASGI app; with `digest`, all but /healthz require the token of that digest."""
    api = FastAPI(title="Reward service", responses=REFUSALS)
    api.add_middleware(Guard, digest=digest)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own answer repeats the input, which need not even be valid Unicode.
        keys = ("loc", "msg", "type")
        return _unprocessable([{key: mistake[key] for key in keys} for mistake in error.errors()])

    @api.exception_handler(InvalidRecord)
    async def unusable(request: Request, error: InvalidRecord) -> JSONResponse:
        return _unprocessable([{"loc": ["body"], "msg": str(error), "type": "value_error"}])

    @api.exception_handler(NotFiniteError)
    async def not_finite(request: Request, error: NotFiniteError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 500)

    @api.post("/score")
    async def score(request: ScoreRequest) -> ScoreResponse:
        """Rewards of answers to a prompt, or of a whole conversation."""
        scores = await service.score(request.question(), request.answers())
        preferences = None
        if request.calibrated:
            temperature = service.info.temperature
            preferences = [
                [float(sigmoid((mine - other) / temperature)) for other in scores]
                for mine in scores
            ]
        return ScoreResponse(scores=scores, preferences=preferences)

    @api.post("/get_reward")
    async def get_reward(request: RewardRequest) -> RewardResponse:
        """Rewards of whole texts, as OpenRLHF's remote reward client asks for them."""
        return RewardResponse(rewards=await service.score_texts(request.query, request.prompts))

    @api.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Answers when the model is loaded."""
        return "ok"

    @api.get("/info")
    async def info() -> Info:
        """Which model this is."""
        return service.info

    return api


def _unprocessable(detail: list[dict[str, Any]]) -> JSONResponse:
    return JSONResponse({"detail": detail}, 422)
