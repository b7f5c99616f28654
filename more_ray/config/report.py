"""Settings of a report."""

from __future__ import annotations

from pydantic import Field

from more_ray.config.base import Section


class ReportConfig(Section):
    runs: list[str] = Field(min_length=1)
    """Folders of runs or evaluations of the same pairs; the page is about the first."""
    output: str = "report.html"
    """The page: a path, or any URI that pyarrow's filesystems open."""
