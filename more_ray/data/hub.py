"""Data sets of the Hugging Face hub, and folders that `datasets` reads as it reads the hub."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from more_ray.data.shapes import Row
from more_ray.errors import DataError

HUB = "hub:"


@dataclass(frozen=True)
class HubSource:
    """A data set: ORG/NAME or a folder, and which part of it."""

    path: str
    test: str | None = None
    """The split to test on; None: some prompts are held out."""
    data_dir: str | None = None
    revision: str | None = None
    """A commit, tag or branch; None is the newest that can be read."""
    train: str = "train"
    config: str | None = None

    def __str__(self) -> str:
        """As `data.sources` names it."""
        more = {"config": self.config, "data_dir": self.data_dir, "test": self.test}
        query = urlencode({key: value for key, value in more.items() if value})
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB}{self.path}{revision}:{self.train}" + (f"?{query}" if query else "")


AS_PARQUET = "refs/convert/parquet"
"""Where the hub keeps its own conversion of data sets that are loaded by a script."""

HUB_SOURCES = {
    "helpful": HubSource("Anthropic/hh-rlhf", test="test", data_dir="helpful-base"),
    "harmless": HubSource("Anthropic/hh-rlhf", test="test", data_dir="harmless-base"),
    "oasst1": HubSource("OpenAssistant/oasst1", test="validation"),
    "webgpt": HubSource("openai/webgpt_comparisons", revision=AS_PARQUET),
    "summarize": HubSource(
        "openai/summarize_from_feedback",
        test="validation",
        data_dir="comparisons",
        revision=AS_PARQUET,
    ),
}
"""The paper's five sources."""

_ADDRESS = re.compile(
    r"(?P<path>[^@:?]+)(?:@(?P<revision>[^:?]+))?(?::(?P<split>[^?]+))?(?:\?(?P<more>.+))?"
)


def parse_hub(address: str) -> HubSource:
    """The data set of `hub:PATH@REVISION:SPLIT?config=CONFIG&data_dir=FOLDER&test=SPLIT`.

    All but the path may be left out. `test` is the split to test on.

    Raises:
        DataError: it is not written so.
    """
    found = _ADDRESS.fullmatch(address.removeprefix(HUB))
    more = dict(parse_qsl(found["more"] or "", keep_blank_values=True)) if found else {}
    if found is None or more.keys() - {"config", "data_dir", "test"}:
        raise DataError(
            f"data.sources: got {address}, "
            "allowed: hub:ORG/NAME@REVISION:SPLIT?config=CONFIG&data_dir=FOLDER&test=SPLIT"
        )
    return HubSource(
        found["path"],
        test=more.get("test") or None,
        data_dir=more.get("data_dir"),
        revision=found["revision"],
        train=found["split"] or "train",
        config=more.get("config"),
    )


def hub_records(source: HubSource, split: str, name: str) -> Generator[Row, None, None]:
    """The raw records of a split of a data set, streamed, each with where it was found.

    Raises:
        DataError: it cannot be read, or has no such split or config; `name` is its source's.
    """
    import datasets  # takes a second

    try:
        rows = datasets.load_dataset(
            source.path,
            source.config,
            data_dir=source.data_dir,
            split=split,
            revision=source.revision,
            streaming=True,
        )
        for number, row in enumerate(rows):
            yield f"{source.path}:{split} row {number}", row
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"source {name}: cannot read {source.path} from the hub: {reason}"
        ) from error
