"""The HTTP side of the reward service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse

from more_ray.calibrate.opinions import Opinion
from more_ray.data.rejects import InvalidRecord
from more_ray.errors import UserError
from more_ray.serve.as_vllm import (
    ClassifyRequest,
    ClassifyResponse,
    PoolingRequest,
    PoolingResponse,
    classified,
    pooled,
)
from more_ray.serve.guard import Guard
from more_ray.serve.json_route import JsonRoute
from more_ray.serve.schemas import (
    Info,
    Problem,
    RewardRequest,
    RewardResponse,
    ScoreRequest,
    ScoreResponse,
    turns,
)

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        401: "The bearer token is missing or wrong.",
        408: "The answer took too long.",
        413: "The body is too large.",
        415: "The body is not declared as application/json.",
        422: "The request cannot be answered as it is.",
        500: "The model gives an answer no finite score.",
        503: "The queue is full; Retry-After says when to try again.",
    }.items()
}
MISTAKES_SHOWN = 3
LONGEST_PLACE = 100
"""Characters."""


class NotFiniteError(Exception):
    """The model gives an answer a score that is NaN or infinite."""


class Service(Protocol):
    """The service that the API passes requests to."""

    info: Info

    async def opinion(
        self,
        prompt: Any,
        responses: Sequence[str],
        source: str | None,
        preferences: bool,
        uncertainty: bool,
    ) -> Opinion: ...

    async def score_texts(
        self, texts: Sequence[str], prompts: Sequence[str] | None
    ) -> list[float]: ...

    async def score_continued(self, prompt: str | list[dict[str, str]], response: str) -> float: ...

    async def score_as_given(self, request: ClassifyRequest) -> tuple[list[float], int]: ...


def make_api(service: Service, digest: str | None) -> FastAPI:
    """An ASGI app; with `digest`, all but /healthz require the token of that digest.

    Every error has the body of a `Problem`.
    """
    api = FastAPI(title="Reward service", responses=REFUSALS)
    api.router.route_class = JsonRoute
    api.add_middleware(Guard, digest=digest)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(_mistakes(error), 422)

    @api.exception_handler(InvalidRecord)
    @api.exception_handler(UserError)
    async def unusable(request: Request, error: InvalidRecord | UserError) -> JSONResponse:
        return _problem(" ".join(str(error).split()), 422)

    @api.exception_handler(NotFiniteError)
    async def not_finite(request: Request, error: NotFiniteError) -> JSONResponse:
        return _problem(str(error), 500)

    @api.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _problem("an error in the service, which its log shows", 500)

    @api.post("/score", response_model=ScoreResponse)
    async def score(asked: ScoreRequest) -> Opinion:
        """Rewards of answers to a prompt, or of a whole conversation: everybody's, those of a
        source, or those of people who were never asked.
        """
        return await service.opinion(
            asked.question(), asked.answers(), asked.source, asked.calibrated, asked.uncertainty
        )

    @api.post("/get_reward", response_model=RewardResponse | float)
    async def get_reward(asked: RewardRequest) -> dict[str, list[float]] | float:
        """Rewards of whole texts, as OpenRLHF's remote reward client asks for them; or the reward
        of one answer as slime's does, which is the whole body of the response.
        """
        if asked.query is not None:
            return {"rewards": await service.score_texts(asked.query, asked.prompts)}
        prompt = asked.prompt if isinstance(asked.prompt, str) else turns(asked.prompt or [])
        return await service.score_continued(prompt, asked.response or "")

    @api.post("/classify", response_model=ClassifyResponse)
    async def classify(asked: ClassifyRequest) -> dict[str, Any]:
        """The reward of each text, or its sigmoid, as vLLM's server for classifiers answers."""
        rewards, tokens = await service.score_as_given(asked)
        return classified(asked, rewards, tokens, service.info)

    @api.post("/pooling", response_model=PoolingResponse)
    async def pooling(asked: PoolingRequest) -> dict[str, Any]:
        """As /classify, in the form of vLLM's /pooling."""
        rewards, tokens = await service.score_as_given(asked)
        return pooled(asked, rewards, tokens, service.info)

    @api.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Answers when the model is loaded."""
        return "ok"

    @api.get("/info")
    async def info() -> Info:
        """Which model this is, whose rewards it knows, and what can be asked."""
        return service.info

    return api


def _mistakes(error: RequestValidationError) -> str:
    """In one line, without the values that the client sent."""
    lines = [": ".join(filter(None, (_place(one["loc"]), one["msg"]))) for one in error.errors()]
    shown = "; ".join(line.replace("Value error, ", "") for line in lines[:MISTAKES_SHOWN])
    more = len(lines) - MISTAKES_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def _place(loc: Sequence[str | int]) -> str:
    """Where a mistake is. The name of an unknown field may be any text."""
    place = " ".join(".".join(map(str, loc)).split())
    return place if len(place) <= LONGEST_PLACE else f"{place[:LONGEST_PLACE]}..."


def _problem(detail: str, status: int) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
