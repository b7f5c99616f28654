"""A comparison by a judge: the requests to make, what they cost, and the result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from more_ray import storage
from more_ray.config.judge import JudgeConfig
from more_ray.endpoint import Pace, api_key, open_client
from more_ray.errors import UserError
from more_ray.judge.cache import Answer, AnswerCache, request_key
from more_ray.judge.client import ask_all
from more_ray.judge.pairs import AnswerPair, read_pairs
from more_ray.judge.question import outcome, question, read_verdict
from more_ray.judge.summary import summarise
from more_ray.parquet import write_table

CHARACTERS_PER_TOKEN = 4
"""Estimate for English; the tokenizer of an endpoint is not known."""
JUDGEMENTS = pa.schema(
    [
        ("row", pa.int64()),
        ("outcome", pa.string()),
        ("verdict_as_a", pa.string()),
        ("verdict_as_b", pa.string()),
        ("said_as_a", pa.string()),
        ("said_as_b", pa.string()),
    ]
)
"""A row per pair: what the judge said where the answer was A and where it was B (null: refused),
the verdicts read from that (null: unparsable), and the outcome."""
SETTINGS = {"criterion", "model", "base_url", "answers", "against", "max_tokens", "temperature"}
Request = dict[str, Any]


Refused = dict[str, str]
"""The endpoint's messages for requests that it refused, by their keys."""


@dataclass(frozen=True)
class Plan:
    """The pairs to judge, and the requests for them.

    `keys` are those of the two requests of each pair: its answer shown as A, and shown as B.
    `unmatched` counts the rows that only one of the files has. `todo` are the requests that the
    cache cannot answer.
    """

    pairs: list[AnswerPair]
    unmatched: int
    keys: list[tuple[str, str]]
    todo: dict[str, Request]

    @property
    def cached(self) -> int:
        """How many requests the cache answers."""
        return len({key for pair_keys in self.keys for key in pair_keys}) - len(self.todo)


@dataclass(frozen=True)
class Estimate:
    """Tokens of the requests still to send (`output_tokens`: at most), and what they cost."""

    input_tokens: int
    output_tokens: int
    cost: float | None

    def __str__(self) -> str:
        cost = "unknown without input_price and output_price"
        if self.cost is not None:
            cost = f"at most about {self.cost:,.2f}"
        return (
            f"about {self.input_tokens:,} tokens to send, at most {self.output_tokens:,} to "
            f"receive; cost {cost}"
        )


def make_plan(config: JudgeConfig, cache: AnswerCache) -> Plan:
    """Read the pairs, and look up which requests are answered already.

    Raises:
        UserError: the files cannot be read, or do not match.
    """
    pairs, unmatched = read_pairs(config.answers, config.against, config.limit, config.seed)
    keys, todo = [], {}
    for pair in pairs:
        pair_keys = []
        for a, b in ((pair.response, pair.other), (pair.other, pair.response)):
            request = _request(config, pair, a, b)
            pair_keys.append(request_key(config.base_url, request))
            if cache.get(pair_keys[-1]) is None:
                todo[pair_keys[-1]] = request
        keys.append((pair_keys[0], pair_keys[1]))
    return Plan(pairs, unmatched, keys, todo)


def _request(config: JudgeConfig, pair: AnswerPair, a: str, b: str) -> Request:
    request = {
        "model": config.model,
        "messages": question(config.criterion, pair.prompt, a, b),
        config.max_tokens_name: config.max_tokens,
    }
    if config.temperature is not None:
        request["temperature"] = config.temperature
    return request


def estimate(config: JudgeConfig, plan: Plan) -> Estimate:
    """Estimate the tokens and cost of what is to be asked; without prices `cost` is None."""
    characters = sum(
        len(message["content"]) for request in plan.todo.values() for message in request["messages"]
    )
    sent = round(characters / CHARACTERS_PER_TOKEN)
    answered = len(plan.todo) * config.max_tokens
    cost = None
    if config.input_price is not None and config.output_price is not None:
        cost = (sent * config.input_price + answered * config.output_price) / 1e6
    return Estimate(sent, answered, cost)


def judge(
    config: JudgeConfig, plan: Plan, cache: AnswerCache, on_answer: Callable[[], None]
) -> dict[str, Any]:
    """Send the requests not answered yet; write `judgements.parquet` and `judge.json`.

    Returns:
        The content of `judge.json`: the settings, the result of `summarise`, `said_a` (the share of
        readable verdicts for the answer shown first: 0.5 without position bias), `refused`
        (requests that the endpoint refused), `lonely` (rows that only one of the files has) and the
        tokens used.

    Raises:
        UserError: the judge cannot be asked; a rerun resumes.
    """
    refused = _finished(_ask(config, plan, cache, on_answer)) if plan.todo else {}
    answers = {key: cache.get(key) for pair_keys in plan.keys for key in pair_keys}
    given = [answer for answer in answers.values() if answer]
    if not given:
        raise UserError(f"{config.base_url} refused all requests: {next(iter(refused.values()))}")
    rows = _judgements(config, plan, answers)
    said = [row[key] for row in rows for key in ("verdict_as_a", "verdict_as_b") if row[key]]
    result = {
        **config.model_dump(include=SETTINGS),
        **summarise(row["outcome"] for row in rows),
        "said_a": said.count("A") / len(said) if said else None,
        "refused": len(refused),
        "lonely": plan.unmatched,
        "input_tokens": sum(answer.input_tokens for answer in given),
        "output_tokens": sum(answer.output_tokens for answer in given),
    }
    table = pa.Table.from_pylist(rows, JUDGEMENTS)
    write_table(storage.join(config.output_dir, "judgements.parquet"), table)
    storage.write_json(storage.join(config.output_dir, "judge.json"), result)
    return result


def _finished(work: Coroutine[Any, Any, Refused]) -> Refused:
    """The result of `work`, from a separate thread where a notebook's event loop runs here."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work)).result()


async def _ask(
    config: JudgeConfig, plan: Plan, cache: AnswerCache, on_answer: Callable[[], None]
) -> Refused:
    pace, key = Pace(config.requests_per_minute), api_key(config.api_key_env)
    async with open_client(config.base_url, key, config, pace) as client:
        return await ask_all(client, plan.todo, cache, config.concurrency, on_answer)


def _judgements(
    config: JudgeConfig, plan: Plan, answers: dict[str, Answer | None]
) -> list[dict[str, Any]]:
    rows = []
    for pair, keys in zip(plan.pairs, plan.keys, strict=True):
        texts = [answer.text if (answer := answers[key]) else None for key in keys]
        verdicts = [read_verdict(config.criterion, text or "") for text in texts]
        values = (pair.row, outcome(*verdicts), *verdicts, *texts)
        rows.append(dict(zip(JUDGEMENTS.names, values, strict=True)))
    return rows
