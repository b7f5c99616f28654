"""Known shapes, recognised by their columns: the first one whose columns a record has counts.

1.  `chosen, rejected`: texts, messages or whole dialogues, or a list of several answers each.
2.  `question, answer_0, answer_1, score_0, score_1` (WebGPT).
3.  `info, summaries, choice` (summaries of posts).
4.  `text, score`: lists of whole dialogues and their scores.
5.  K answers: a list `responses`, `completions`, `answers`, `candidates` or `outputs` beside a
    list `scores` or `ranks` (1 is the best), or a list of objects, each with its text (`response`,
    `answer`, `completion`, `text`) and its `overall_score`, `score` or `rank`.
6.  Two answers (`response_0, response_1`; `response_1, response_2`; `response1, response2`;
    `response_a, response_b`; `answer_0, answer_1`; `answer_a, answer_b`;
    `conversation_a, conversation_b`; `human_ref_A, human_ref_B`) and a verdict: `votes_a, votes_b`
    (counts), `preference_probability` (of the first), `preference_strength` (above 0: the second),
    `better_response_id`, `winner`, `preference` or `label` (which answer, or a tie), or `labels`
    (SHP: 1 is the first).
7.  `prompt, response, helpfulness`: neighbouring rows with the same prompt are compared.
8.  `prompt, response`: a single answer.
9.  `message_id, parent_id, role, text, rank`: trees of messages (OpenAssistant).
10. `instruction, output`: a list `[better, worse]`, or a single answer.

The prompt is the first of `prompt, question, instruction, conversations` that is there, with
`input` after it; without any, answers are whole dialogues. `system`, `history` and `subset` are
read in every shape but 9, and `margin`, `score_chosen`, `score_rejected` and
`preference_probability` beside 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from more_ray.data.messages import Message
from more_ray.data.rejects import InvalidRecord, Reason, text
from more_ray.data.shapes.paths import Keys, Paths, Record, column, each_path, has

PROMPTS = ("prompt", "question", "instruction", "conversations")
CONTEXT: Keys = {"system": "system", "history": "history", "subset": "subset"}


def prompt_of(record: Record) -> Any:
    """The prompt from the first column that has one; None where answers are complete dialogues.

    Raises `InvalidRecord` for an `input` that cannot be appended to it.
    """
    prompt = record.get(prompt_column(record))
    if more := record.get("input"):
        if not isinstance(prompt, str):
            raise InvalidRecord(
                Reason.WRONG_TYPE, "input is allowed only where the prompt is a text"
            )
        prompt = f"{prompt}\n\n{text(more, 'input')}"
    return prompt


def prompt_column(record: Record) -> str:
    """The first of `PROMPTS` that has a value."""
    return next((name for name in PROMPTS if record.get(name) is not None), PROMPTS[0])


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns that a record has, and which of them is what.

    `needs` are paths that every record must have. `keys` says where each value is, with these
    names: `prompt`, `system`, `history`, `subset`, `margin`, `weight`, `probability`; `chosen` and
    `rejected`, or `answers`; and at most one of `scores`, `ranks`, `votes`, `label`, `strength`
    (above 0: the second answer is better), `first` (1: the first is), `order` (any value: the best
    answer comes first). Without the key `prompt` the function `prompt` finds it. With `by_row` the
    answers to a prompt are in neighbouring records. With `lists_in_text` a text may be JSON of a
    list of answers.
    """

    needs: tuple[str, ...]
    keys: Keys
    prompt: Callable[[Record], Any] = prompt_of
    by_row: bool = False
    lists_in_text: bool = False

    def fits(self, record: Record) -> bool:
        return all(has(record, path) for path in self.needs)

    def unread(self, record: Record) -> set[str]:
        """Columns of the record that have a value which is not read."""
        read = {column(path, record) for path in (*self.needs, *each_path(self.keys.values()))}
        if self is TREE:
            read |= {"deleted", "lang", "source"}
        else:
            read |= {"tools", "source"}
            if self.prompt is prompt_of and "prompt" not in self.keys:
                read |= {prompt_column(record), "input"}
        return {name for name in record.keys() - read if record[name] is not None}


def _webgpt_prompt(record: Record) -> list[Message]:
    question = _entry(record["question"], "full_text", "question")
    return _as_prompt(text(question, "question.full_text"))


def _summary_prompt(record: Record) -> list[Message]:
    post, title, subreddit = (
        text(_entry(record["info"], key, "info"), f"info.{key}")
        for key in ("post", "title", "subreddit")
    )
    return _as_prompt(f"SUBREDDIT: r/{subreddit}\nTITLE: {title}\nPOST: {post}\nTL;DR:")


def _no_prompt(record: Record) -> None:
    return None


def _as_prompt(content: str) -> list[Message]:
    return [Message(role="user", content=content)]


def _entry(value: Any, key: str, name: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise InvalidRecord(Reason.WRONG_TYPE, f"{name} must be an object with {key}")
    return value[key]


def _with_context(*needs: str, **keys: Paths) -> Shape:
    return Shape(needs, {**CONTEXT, **keys})


def _lists() -> Iterator[Shape]:
    """Shapes of K answers."""
    lists = ("responses", "completions", "answers", "candidates", "outputs")
    for answers, verdict in product(lists, ("scores", "ranks")):
        yield _with_context(answers, verdict, answers=answers, **{verdict: verdict})
    texts = ("response", "answer", "completion", "text")
    verdicts = {"overall_score": "scores", "score": "scores", "rank": "ranks"}
    for answers, inside, (name, verdict) in product(lists, texts, verdicts.items()):
        paths = f"{answers}.*.{inside}", f"{answers}.*.{name}"
        yield _with_context(*paths, answers=paths[0], **{verdict: paths[1]})


def _twos() -> Iterator[Shape]:
    """Shapes of two answers and a verdict."""
    answers = (
        ("response_0", "response_1"),
        ("response_1", "response_2"),
        ("response1", "response2"),
        ("response_a", "response_b"),
        ("answer_0", "answer_1"),
        ("answer_a", "answer_b"),
        ("conversation_a", "conversation_b"),
    )
    verdicts: dict[str, Paths] = {
        "votes": ["votes_a", "votes_b"],
        "preference_probability": "votes",
        "preference_strength": "strength",
        "better_response_id": "label",
        "winner": "label",
        "preference": "label",
        "label": "label",
    }
    for two, (name, key) in product(answers, verdicts.items()):
        if isinstance(key, str):
            yield _with_context(*two, name, answers=[*two], **{key: name})
        else:
            yield _with_context(*two, *key, answers=[*two], **{name: key})
    stack_exchange = {"system": "system", "subset": "subset", "margin": "score_ratio"}
    two = ["human_ref_A", "human_ref_B"]
    yield Shape(
        ("history", *two, "labels"),
        {**stack_exchange, "prompt": "history", "answers": two, "first": "labels"},
    )


EXPLICIT = Shape(
    ("chosen", "rejected"),
    {
        **CONTEXT,
        "chosen": "chosen",
        "rejected": "rejected",
        "margin": "margin",
        "probability": "probability",
        "scores": ["score_chosen", "score_rejected"],
        "votes": "preference_probability",
    },
)
ANSWER = _with_context("prompt", "response", chosen="response")
TREE = Shape(("message_id", "parent_id", "role", "text", "rank"), {})
SHAPES = (
    EXPLICIT,
    Shape(
        ("question", "answer_0", "answer_1", "score_0", "score_1"),
        {**CONTEXT, "answers": ["answer_0", "answer_1"], "scores": ["score_0", "score_1"]},
        _webgpt_prompt,
    ),
    Shape(
        ("info", "summaries", "choice"),
        {**CONTEXT, "answers": "summaries.*.text", "label": "choice"},
        _summary_prompt,
    ),
    Shape(("text", "score"), {**CONTEXT, "answers": "text", "scores": "score"}, _no_prompt),
    *_lists(),
    *_twos(),
    Shape(
        ("prompt", "response", "helpfulness"),
        {**CONTEXT, "answers": "response", "scores": "helpfulness"},
        by_row=True,
    ),
    ANSWER,
    TREE,
    _with_context("instruction", "output", answers="output", order="output"),
)
IN_SHORT = (
    "chosen, rejected; responses, scores; responses, ranks; response_0, response_1, winner; "
    "response_0, response_1, better_response_id; prompt, response, helpfulness; prompt, response; "
    "message_id, parent_id, role, text, rank; others that the documentation lists; or "
    "data.columns"
)
"""For the error where no shape fits."""


def recognise(record: Record) -> Shape | None:
    """The first known shape that fits."""
    return next((shape for shape in SHAPES if shape.fits(record)), None)
