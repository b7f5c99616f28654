"""Settings of requests to an OpenAI-compatible endpoint."""

from __future__ import annotations

from pydantic import Field

from more_ray.config.base import MayChange, Section


class RequestConfig(Section):
    concurrency: MayChange[int] = Field(8, ge=1)
    """Requests in flight at a time."""
    requests_per_minute: MayChange[float | None] = Field(None, gt=0)
    """Start no more requests than this, retries included. Unset: no limit."""
    retries: MayChange[int] = Field(5, ge=0)
    """How often a request is tried again after a failure of the network, a time-out, or HTTP status
    408, 409, 429 or 5xx, waiting longer each time."""
    timeout: MayChange[float] = Field(120.0, gt=0)
    """Seconds that an endpoint may stay silent."""
