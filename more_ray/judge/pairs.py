"""Pairs to judge, from two files of answers to the same prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from more_ray.data.messages import Message, to_prompt
from more_ray.data.rejects import InvalidRecord
from more_ray.errors import UserError
from more_ray.parquet import read_table

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema([("row", pa.int64()), ("prompt", pa.list_(MESSAGE)), ("response", pa.string())])


@dataclass(frozen=True)
class AnswerPair:
    """A prompt, the answer to judge, and the other answer that it is judged against."""

    row: int
    prompt: list[Message]
    response: str
    other: str


def read_pairs(
    answers: str, against: str, limit: int | None, seed: int
) -> tuple[list[AnswerPair], int]:
    """The pairs of two files in the order of their rows, or a sample of `limit` of them.

    Returns:
        The pairs, and how many rows only one of the files has.

    Raises:
        UserError: a file cannot be read, or lacks columns or rows; no row is in both; a row occurs
            twice, has different prompts, or an invalid prompt.
    """
    ours, theirs = _read(answers), _read(against)
    rows = sorted(ours.keys() & theirs.keys())
    unmatched = len(ours.keys() ^ theirs.keys())
    if not rows:
        raise UserError(f"{answers} and {against} do not match: no row is in both")
    for row in rows:
        prompt = ours[row][0]
        if prompt != theirs[row][0]:
            raise UserError(f"{answers} and {against} do not match: row {row} has two prompts")
        try:
            to_prompt(prompt)
        except InvalidRecord as invalid:
            raise UserError(f"{answers}, row {row}: {invalid}") from invalid
    if limit is not None:
        rows = sorted(np.random.default_rng(seed).permutation(rows)[:limit].tolist())
    return [AnswerPair(row, *ours[row], theirs[row][1]) for row in rows], unmatched


def _read(uri: str) -> dict[int, tuple[list[Message], str]]:
    try:
        table = read_table(uri, SCHEMA.names).select(SCHEMA.names).cast(SCHEMA)
    except FileNotFoundError as error:
        raise UserError(f"{uri}: no such file") from error
    except (OSError, KeyError, ValueError, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{uri}: {reason}; a Parquet file with the columns row (integer), prompt (a list of "
            "messages, each role and content) and response (string) is allowed"
        ) from error
    if not len(table):
        raise UserError(f"{uri}: no rows")
    if any(column.null_count for column in table.columns):
        raise UserError(f"{uri}: row, prompt or response is null somewhere")
    if len(pc.unique(table["row"])) < len(table):
        raise UserError(f"{uri}: a row occurs twice; one answer per row is allowed")
    return {
        row: (prompt, response)
        for row, prompt, response in zip(
            *(column.to_pylist() for column in table.columns), strict=True
        )
    }
