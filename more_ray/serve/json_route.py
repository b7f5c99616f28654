"""A route that reads the body and writes the answer as JSON in one step each.

FastAPI's own parses the body into Python objects before it validates them, and validates answers
too; the schema that it shows is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

MOST_MISTAKES = 1_000
"""That are told apart. A body has room for a million, whose texts would take half a minute."""


class JsonRoute(APIRoute):
    """Calls its endpoint with the validated body, its only argument if it has one: `asked`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        if self.body_field is None:
            return super().get_route_handler()
        model: type[BaseModel] = get_type_hints(self.endpoint)["asked"]
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            # Browsers send other types from any page, without asking.
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise HTTPException(415, "content-type: application/json is allowed")
            try:
                body = model.model_validate_json(await request.body())
            except ValidationError as error:
                raise RequestValidationError(_mistakes(error, model)) from error
            except ClientDisconnect:
                return Response(status_code=400)  # to nobody
            return Response(to_json(await endpoint(body)), media_type="application/json")

        return handle


def _mistakes(error: ValidationError, model: type[BaseModel]) -> list[Any]:
    if error.error_count() > MOST_MISTAKES:
        return [{"loc": (), "msg": f"{error.error_count()} mistakes"}]
    mistakes = error.errors(include_input=False)
    for one in mistakes:
        if one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
            one["msg"] += f"; allowed: {', '.join(model.model_fields)}"
    return mistakes
