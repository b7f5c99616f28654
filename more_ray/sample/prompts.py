"""The prompts that a policy answers, read from a file."""

from __future__ import annotations

from itertools import islice

from more_ray.data.files import read_records
from more_ray.data.messages import Message, to_prompt, turns_before
from more_ray.data.rejects import InvalidRecord, Reject
from more_ray.data.shapes import PROMPTS, prompt_of
from more_ray.errors import DataError

Prompt = tuple[Message, ...]


def read_prompts(uri: str, limit: int | None = None) -> list[Prompt]:
    """The column `prompt` (or `question`, or `instruction`) of a file, in the file's order, at
    most `limit` rows; `system`, `history` and `input` are read as in preference data.

    A prompt is an instruction, a transcript or a list of messages; it ends with a user turn.

    Raises:
        DataError: the file cannot be read, has no rows, or a row has no usable prompt.
    """
    prompts = []
    for row in islice(read_records(uri), limit):
        if isinstance(row, Reject):
            raise DataError(f"{row.where}: {row.reason.value}: {row.detail}")
        where, record = row
        if not record.keys() & set(PROMPTS):
            columns = ", ".join(sorted(record)) or "(none)"
            raise DataError(f"{where}: no column prompt; there are {columns}")
        try:
            prompts.append(to_prompt(prompt_of(record), turns_before(record)))
        except InvalidRecord as invalid:
            raise DataError(f"{where}: {invalid}") from invalid
    if not prompts:
        raise DataError(f"{uri}: no prompts")
    return prompts
