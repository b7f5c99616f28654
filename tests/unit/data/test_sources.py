"""Every shape that people have, and every kind of bad input with its own words."""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from more_ray.config import DataConfig
from more_ray.data.files import read_file
from more_ray.data.hub import HUB_SOURCES
from more_ray.data.records import Pair
from more_ray.data.rejects import Reason, Reject
from more_ray.data.shapes import look
from more_ray.data.sources import SourceFiles, fingerprint, iter_pairs, locate
from more_ray.errors import DataError

REAL = os.environ.get("MORE_RAY_DATA", "")
"""A folder with real preference pairs of eight sources, too large for this repository."""
with_real_pairs = pytest.mark.skipif(not REAL, reason="MORE_RAY_DATA names no folder of real pairs")
PROMPT = ({"role": "user", "content": "Name a fruit."},)
EXPLICIT = {"prompt": "Name a fruit.", "chosen": "An apple.", "rejected": "A stone."}
EXPECTED = Pair(PROMPT, "An apple.", "A stone.", "mine")

SHAPES: dict[str, tuple[list[dict[str, Any]], Pair]] = {
    "strings": ([EXPLICIT], EXPECTED),
    "transcript prompt": (
        [EXPLICIT | {"prompt": "Human: Name a fruit.\n\nAssistant:"}],
        EXPECTED,
    ),
    "messages": (
        [
            {
                "prompt": [{"role": "user", "content": "Name a fruit."}],
                "chosen": [{"role": "assistant", "content": "An apple."}],
                "rejected": [{"role": "assistant", "content": "A stone."}],
            }
        ],
        EXPECTED,
    ),
    "conversations": (
        [
            {
                name: [
                    {"role": "user", "content": "Name a fruit."},
                    {"role": "assistant", "content": answer},
                ]
                for name, answer in (("chosen", "An apple."), ("rejected", "A stone."))
            }
        ],
        EXPECTED,
    ),
    "hh transcripts": (
        [
            {
                "chosen": "\n\nHuman: Name a fruit.\n\nAssistant: An apple.",
                "rejected": "\n\nHuman: Name a fruit.\n\nAssistant: A stone.",
            }
        ],
        EXPECTED,
    ),
    "text and score": (
        [
            {
                "text": [
                    f"Human: Name a fruit.\n\nAssistant: {one}" for one in ("A stone.", "An apple.")
                ],
                "score": [-0.5, 0.25],
            }
        ],
        Pair(PROMPT, "An apple.", "A stone.", "mine", margin=0.75),
    ),
    "webgpt": (
        [
            {
                "question": {"full_text": "Name a fruit."},
                "answer_0": "An apple.",
                "answer_1": "A stone.",
                "score_0": 1.0,
                "score_1": -1.0,
            }
        ],
        Pair(PROMPT, "An apple.", "A stone.", "mine", margin=2.0),
    ),
    "summaries": (
        [
            {
                "info": {"post": "I ate.", "title": "Fruit", "subreddit": "food"},
                "summaries": [{"text": "A stone."}, {"text": "An apple."}],
                "choice": 1,
            }
        ],
        Pair(
            (
                {
                    "role": "user",
                    "content": "SUBREDDIT: r/food\nTITLE: Fruit\nPOST: I ate.\nTL;DR:",
                },
            ),
            "An apple.",
            "A stone.",
            "mine",
        ),
    ),
    "message tree": (
        [
            {"message_id": one, "parent_id": parent, "role": role, "text": text, "rank": rank}
            | {"deleted": False, "lang": "en"}
            for one, parent, role, text, rank in (
                ("a", None, "prompter", "Name a fruit.", None),
                ("b", "a", "assistant", "A stone.", 1.0),
                ("c", "a", "assistant", "An apple.", 0.0),
                ("d", "a", "assistant", "Unranked.", None),
            )
        ],
        EXPECTED,
    ),
}


TURNS = (
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    *PROMPT,
)
CONTEXT = {"system": "Be kind.", "history": [["Hi.", "Hello."]]}
DIALOGUE = "Human: Hi.{0}Assistant: Hello.{0}Human: Name a fruit.{0}Assistant: {1}"
SHAPES |= {
    "system and history": ([EXPLICIT | CONTEXT], Pair(TURNS, "An apple.", "A stone.", "mine")),
    "history of messages": (
        [EXPLICIT | {"system": "Be kind.", "history": list(TURNS[1:3])}],
        Pair(TURNS, "An apple.", "A stone.", "mine"),
    ),
    "history as a transcript": (
        [EXPLICIT | {"system": "Be kind.", "history": "Human: Hi.\n\nAssistant: Hello."}],
        Pair(TURNS, "An apple.", "A stone.", "mine"),
    ),
    "no context": ([EXPLICIT | {"system": "", "history": [], "tools": None}], EXPECTED),
    "orca pairs": (
        [
            {"system": "Be kind.", "question": "Name a fruit."}
            | {"chosen": "An apple.", "rejected": "A stone."}
        ],
        Pair((TURNS[0], *PROMPT), "An apple.", "A stone.", "mine"),
    ),
    "instruction and input": (
        [
            {"instruction": "Name it.", "input": "Red, on trees."}
            | {"chosen": "An apple.", "rejected": "A stone."}
        ],
        Pair(
            ({"role": "user", "content": "Name it.\n\nRed, on trees."},),
            *("An apple.", "A stone.", "mine"),
        ),
    ),
    "system of messages stays once": (
        [
            {"system": "Be kind."}
            | {
                side: [*TURNS, {"role": "assistant", "content": answer}]
                for side, answer in (("chosen", "An apple."), ("rejected", "A stone."))
            }
        ],
        Pair(TURNS, "An apple.", "A stone.", "mine"),
    ),
    "messages as JSON": (
        [
            {
                "prompt": json.dumps(PROMPT),
                "chosen": json.dumps([{"role": "assistant", "content": "An apple."}]),
                "rejected": json.dumps([{"from": "gpt", "value": "A stone."}]),
            }
        ],
        EXPECTED,
    ),
    "messages as indented JSON": (
        [
            {
                "prompt": json.dumps(PROMPT, indent=1),
                "chosen": json.dumps({"role": "assistant", "content": "An apple."}),
                "rejected": str([{"role": "assistant", "content": "A stone."}]),
            }
        ],
        EXPECTED,
    ),
    "context as JSON": (
        [
            EXPLICIT
            | {"system": "Be kind.", "history": json.dumps(CONTEXT["history"]), "tools": "[]"}
        ],
        Pair(TURNS, "An apple.", "A stone.", "mine"),
    ),
    "empty context as JSON": ([EXPLICIT | {"history": "[]", "tools": "null"}], EXPECTED),
    "lists that are answers": (
        [EXPLICIT | {"chosen": '[["a", "b"]]', "rejected": "[]"}],
        Pair(PROMPT, '[["a", "b"]]', "[]", "mine"),
    ),
    "a number as a subset": (
        [EXPLICIT | {"subset": 3}],
        Pair(PROMPT, "An apple.", "A stone.", "mine", subset="3"),
    ),
    "a system turn in a transcript": (
        [
            EXPLICIT
            | {"prompt": "System: Be kind.\nHuman: Hi.\nAssistant: Hello.\nHuman: Name a fruit."}
        ],
        Pair(TURNS, "An apple.", "A stone.", "mine"),
    ),
    "blank lines between some turns": (
        [
            {
                side: "\n\nHuman: Hi.\nAssistant: Hello.\n\nHuman: Name a fruit.\n"
                f"Assistant: {answer}"
                for side, answer in (("chosen", "An apple."), ("rejected", "A stone."))
            }
        ],
        Pair(TURNS[1:], "An apple.", "A stone.", "mine"),
    ),
    "JSON that is an answer": (
        [EXPLICIT | {"chosen": '[{"fruit": "apple"}]'}],
        Pair(PROMPT, '[{"fruit": "apple"}]', "A stone.", "mine"),
    ),
    **{
        f"transcripts between {between!r}": (
            [
                {
                    side: DIALOGUE.format(between, answer)
                    for side, answer in (("chosen", "An apple."), ("rejected", "A stone."))
                }
            ],
            Pair(TURNS[1:], "An apple.", "A stone.", "mine"),
        )
        for between in ("\n", "\r\n", "\r\n\r\n")
    },
    "scores of both": (
        [EXPLICIT | {"score_chosen": 8.0, "score_rejected": 6.5}],
        Pair(PROMPT, "An apple.", "A stone.", "mine", margin=1.5),
    ),
    "subset": (
        [EXPLICIT | {"subset": "easy"}],
        Pair(PROMPT, "An apple.", "A stone.", "mine", subset="easy"),
    ),
}


def write_jsonl(path: Path, records: list[Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extension", ["jsonl", "jsonl.gz", "json", "parquet"])
def test_shapes(tmp_path: Path, shape: str, extension: str) -> None:
    records, expected = SHAPES[shape]
    path = tmp_path / f"mine.{extension}"
    lines = "".join(json.dumps(record) + "\n" for record in records)
    if extension == "jsonl":
        path.write_text(lines)
    elif extension == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif extension == "json":
        path.write_text(json.dumps(records))
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    assert list(read_file(str(path), "mine")) == [expected]
    assert list(read_file(path.as_uri(), "mine")) == [expected]


def test_csv_with_a_margin(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        'prompt,chosen,rejected,margin\n"Name a fruit.","An apple.","A stone.",0.5\n'
        '"Name a fruit.","An apple.","A stone.",\n'
    )
    first, second = read_file(str(path), "mine")
    assert first == Pair(PROMPT, "An apple.", "A stone.", "mine", margin=0.5)
    assert second == EXPECTED


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("Name a fruit.,An apple.", "2 fields, the header has 3"),
        ("Name a fruit.,An apple.,A stone.,1", "4 fields, the header has 3"),
    ],
)
def test_a_csv_row_with_other_fields_than_the_header(
    tmp_path: Path, line: str, detail: str
) -> None:
    path = tmp_path / "mine.csv"
    good = "Name a fruit.,An apple.,A stone."
    path.write_text("\n".join(["prompt,chosen,rejected", line, "", good]))
    bad = Reject(Reason.CORRUPT_LINE, f"{path} row 0", detail)
    assert list(read_file(str(path), "mine")) == [bad, EXPECTED]


def test_a_csv_row_that_the_parser_refuses(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    good = "Name a fruit.,An apple.,A stone."
    path.write_text("\n".join(["prompt,chosen,rejected", "a\rb,An apple.,A stone.", good]))
    bad, pair = read_file(str(path), "mine")
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.where) == (Reason.CORRUPT_LINE, f"{path} row 0")
    assert pair == EXPECTED


def test_a_csv_header_that_the_parser_refuses_is_a_corrupt_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt\rchosen,rejected\nName a fruit.,An apple.,A stone.")
    (bad,) = read_file(str(path), "mine")
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.where) == (Reason.CORRUPT_FILE, str(path))


@pytest.mark.parametrize("extension", ["jsonl", "json", "csv"])
def test_a_byte_order_mark_is_no_content(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"mine.{extension}"
    content = {
        "jsonl": json.dumps(EXPLICIT),
        "json": json.dumps([EXPLICIT]),
        "csv": "prompt,chosen,rejected\nName a fruit.,An apple.,A stone.\n",
    }
    path.write_text(content[extension], encoding="utf-8-sig")
    assert list(read_file(str(path), "mine")) == [EXPECTED]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("lines", [1, 3])
def test_json_lines_in_a_json_file(tmp_path: Path, lines: int, encoding: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text("\n".join(json.dumps(EXPLICIT) for _ in range(lines)), encoding=encoding)
    assert list(read_file(str(path), "mine")) == [EXPECTED] * lines


def test_json_lines_in_a_json_file_after_an_empty_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(f"\n{json.dumps(EXPLICIT)}\n{json.dumps(EXPLICIT)[:-1]}\n")
    pair, reject = read_file(str(path), "mine")
    assert pair == EXPECTED
    assert (reject.reason, reject.where) == (Reason.CORRUPT_LINE, f"{path}:3")


def test_scores_in_csv_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    header = "prompt,chosen,rejected,score_chosen,score_rejected"
    path.write_text(f"{header}\nName a fruit.,An apple.,A stone.,2,1\n")
    (pair,) = read_file(str(path), "mine")
    assert isinstance(pair, Pair)
    assert pair.margin == 1


def test_what_is_not_read_is_known() -> None:
    def unread(*records: dict[str, Any]) -> set[str]:
        return look((f"row {place}", record) for place, record in enumerate(records)).unread

    assert unread(EXPLICIT | CONTEXT | {"source": "x", "subset": "y", "margin": 1}) == set()
    assert unread(EXPLICIT, EXPLICIT | {"note": "x"}) == {"note"}
    assert unread(EXPLICIT | {"instruction": "In French."}) == {"instruction"}
    scored = {"text": ["a", "b"], "score": [1, 0]}
    assert unread(scored | {"prompt": "x", "question": "y"}) == {"prompt", "question"}
    tree = {"message_id": 1, "parent_id": None, "role": "prompter", "text": "a", "rank": 1}
    assert unread(tree | {"system": "x", "lang": "en"}) == {"system"}


def tree_message(
    identity: str, parent: str | None, role: str = "assistant", rank: Any = None, **more: Any
) -> dict[str, Any]:
    known = {"message_id": identity, "parent_id": parent, "role": role}
    return known | {"text": identity, "rank": rank} | more


TREE = [
    tree_message("question", None, "prompter"),
    tree_message("good", "question", rank=0),
    tree_message("bad", "question", rank=1),
]


@pytest.mark.parametrize(
    "more",
    [
        tree_message("more of the question", "question", "prompter", 2),
        tree_message("gone", "question", rank=2, deleted=True),
        tree_message("anders", "question", rank=2, lang="de"),
        tree_message("question", "question", "prompter"),
    ],
    ids=lambda message: message["message_id"],
)
def test_other_messages_of_a_tree_make_no_pairs(tmp_path: Path, more: dict[str, Any]) -> None:
    below = tree_message("below", more["message_id"], "prompter")
    (pair,) = read_file(write_jsonl(tmp_path / "mine.jsonl", [*TREE, more, below]), "mine")
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected) == ("good", "bad")


def test_messages_that_no_root_leads_to_are_rejects(tmp_path: Path) -> None:
    lost = [tree_message("lost", "nowhere"), tree_message("below", "lost")]
    url = write_jsonl(tmp_path / "mine.jsonl", [*TREE, *lost])
    pair, *rejects = read_file(url, "mine")
    assert isinstance(pair, Pair)
    assert rejects == [
        Reject(Reason.MISSING, f"{url}:{line}", f"no root leads to parent_id {parent}")
        for line, parent in ((4, "nowhere"), (5, "lost"))
    ]


def test_a_tree_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "message_id,parent_id,role,text,rank,deleted,lang\n"
        "q,,prompter,Name a fruit.,,False,en\n"
        "a,q,assistant,An apple.,0.0,false,\n"
        "b,q,assistant,A stone.,1.0,False,en\n"
        "c,q,assistant,A pear.,2.0,True,en\n"
        "d,q,assistant,A plum.,,False,en\n"
    )
    assert list(read_file(str(path), "mine")) == [EXPECTED]


BAD_RECORDS = [
    (EXPLICIT | {"rejected": "An apple. "}, Reason.IDENTICAL, "9 characters"),
    (EXPLICIT | {"chosen": " "}, Reason.EMPTY, "chosen has no answer"),
    (EXPLICIT | {"prompt": ""}, Reason.EMPTY, "prompt has no turn"),
    (
        EXPLICIT | {"chosen": 3},
        Reason.WRONG_TYPE,
        "chosen must be text or a list of messages, got int",
    ),
    (EXPLICIT | {"margin": "wide"}, Reason.WRONG_TYPE, "margin must be a number, got str"),
    (EXPLICIT | {"probability": 2}, Reason.WRONG_TYPE, "probability must lie in [0, 1]"),
    ({"prompt": "Name a fruit."}, Reason.MISSING, "chosen, rejected"),
    (EXPLICIT | {"score_chosen": 1, "score_rejected": 2}, Reason.CONTRADICTION, "1 and 2"),
    (EXPLICIT | {"tools": [{"name": "f"}]}, Reason.TOOLS, "allowed: a record without tools"),
    (
        EXPLICIT | {"prompt": list(PROMPT), "input": "More."},
        Reason.WRONG_TYPE,
        "input is allowed only where the prompt is a text",
    ),
    (EXPLICIT | {"system": 3}, Reason.WRONG_TYPE, "system must be text, got int"),
    (
        EXPLICIT | {"history": 3},
        Reason.WRONG_TYPE,
        "history must be text or a list of messages, got int",
    ),
    (
        {"query": "Name a fruit.", "chosen": "An apple.", "rejected": "A stone."},
        Reason.NO_PROMPT,
        "chosen is a single text, and there is no column prompt",
    ),
    (
        {"chosen": "Human: a\n\nAssistant: b", "rejected": "Human: c\n\nAssistant: d"},
        Reason.PROMPTS_DIFFER,
        "chosen and rejected differ before the answer",
    ),
    ("text", Reason.WRONG_TYPE, "allowed: an object, got str"),
]


@pytest.mark.parametrize(("record", "reason", "detail"), BAD_RECORDS)
def test_a_bad_record_is_rejected_and_reading_goes_on(
    tmp_path: Path, record: Any, reason: Reason, detail: str
) -> None:
    url = write_jsonl(tmp_path / "mine.jsonl", [EXPLICIT, record, EXPLICIT])
    assert list(read_file(url, "mine")) == [
        EXPECTED,
        Reject(reason, f"{url}:2", detail),
        EXPECTED,
    ]


def test_a_tie_is_a_pair_with_half_of_the_votes_each(tmp_path: Path) -> None:
    answers = [f"Human: Name a fruit.\n\nAssistant: {one}" for one in ("An apple.", "A stone.")]
    url = write_jsonl(
        tmp_path / "mine.jsonl",
        [{"text": answers, "score": [1, 1]}, {"text": answers[:1] * 2, "score": [1, 1]}],
    )
    assert list(read_file(url, "mine")) == [
        replace(EXPECTED, share=0.5, margin=0.0),
        Reject(Reason.TIE, f"{url}:2", "two equal answers"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b'{"prompt": "a\xff"}\n', Reason.INVALID_UTF8), (b'{"prompt": \n', Reason.CORRUPT_LINE)],
)
def test_a_bad_line_is_rejected_and_reading_goes_on(
    tmp_path: Path, line: bytes, reason: Reason
) -> None:
    path = tmp_path / "mine.jsonl"
    good = json.dumps(EXPLICIT).encode() + b"\n"
    path.write_bytes(good + line + good)
    first, bad, last = read_file(str(path), "mine")
    assert first == last == EXPECTED
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.where) == (reason, f"{path}:2")


def test_invalid_utf8_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"prompt,chosen,rejected\nName a fruit.,An apple.,A st\xffne.\n")
    (bad,) = read_file(str(path), "mine")
    assert bad == Reject(Reason.INVALID_UTF8, f"{path} row 0", "rejected, character 4")


def test_a_file_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl.gz"
    lines = [json.dumps(EXPLICIT | {"chosen": f"An apple {n}."}) for n in range(5_000)]
    whole = gzip.compress("\n".join(lines).encode())
    path.write_bytes(whole[: len(whole) // 2])
    *pairs, last = read_file(str(path), "mine")
    assert len(pairs) > 100
    assert isinstance(last, Reject)
    assert (last.reason, last.where) == (Reason.CORRUPT_FILE, str(path))


@pytest.mark.parametrize("name", ["mine.parquet", "mine.json", "mine.jsonl.gz"])
def test_a_corrupt_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not what its name says")
    (bad,) = read_file(str(path), "mine")
    assert isinstance(bad, Reject)
    assert bad.reason is Reason.CORRUPT_FILE


class BreaksOff(BaseHTTPRequestHandler):
    """Promises more than it sends."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(json.dumps(EXPLICIT).encode() + b"\n")

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_connection_that_breaks_off_is_no_corrupt_file() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/mine.jsonl"
        assert message(lambda: read_file(url, "mine")).startswith(f"{url}: reading it failed: ")
        server.shutdown()


def message(call: Any) -> str:
    with pytest.raises(DataError) as error:
        list(call())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_errors_before_training(tmp_path: Path) -> None:
    missing = str(tmp_path / "mine.jsonl")
    assert message(lambda: read_file(missing, "mine")) == f"{missing}: no such file"
    other = str(tmp_path / "mine.txt")
    assert message(lambda: read_file(other, "mine")) == (
        f"{other}: unknown kind of file; allowed: .parquet, .jsonl, .jsonl.gz, .json, .csv"
    )
    url = write_jsonl(tmp_path / "other.jsonl", [{"question": "a", "answer": "b"}])
    assert message(lambda: read_file(url, "mine")).startswith(
        f"{url}: no preference data in columns answer, question; allowed: chosen, rejected; "
    )
    assert message(lambda: locate(DataConfig(root=str(tmp_path / "none")))) == (
        f"data.root: no folder {tmp_path / 'none'}"
    )
    assert message(lambda: locate(DataConfig(root=str(tmp_path)))).startswith(
        f"data.root: {tmp_path} holds no"
    )
    assert message(lambda: locate(DataConfig(sources=["helpfull"]))) == (
        "data.sources: unknown source helpfull, nearest: helpful; the hub has "
        "harmless, helpful, oasst1, summarize, webgpt"
    )
    assert message(lambda: locate(DataConfig(sources=["helpful", "helpful"]))) == (
        "data.sources: helpful is given twice"
    )
    for name, of in (("mean", "the mean over sources"), ("everybody", "the shared head")):
        assert message(lambda name=name: locate(DataConfig(sources=[f"{name}=a.jsonl"]))) == (
            f"data.sources: no source can be called {name}, as results call {of} that; give it "
            f"another name (NAME={name}...)"
        )


@pytest.mark.parametrize("file", ["a.jsonl", "a.train.jsonl", "*.jsonl"])
def test_a_protocol_that_cannot_be_opened(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for url, said in (
        ("s3://bucket", "Install s3fs to access S3"),
        ("foo://here", "Protocol not known: foo; allowed: a path, or a URI that fsspec opens"),
    ):
        assert message(lambda url=url: locate(DataConfig(root=url))) == f"{url}: {said}"
        data = DataConfig(sources=[f"mine={url}/{file}"])
        assert message(lambda data=data: map(fingerprint, locate(data))).endswith(f": {said}")


def test_a_file_behind_a_server_that_was_replaced_is_another(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = []
        for content, time in (("one", 1_000), ("one", 1_000), ("two", 2_000)):
            file.write_text(content)
            os.utime(file, (time, time))
            url = f"http://127.0.0.1:{server.server_port}/a.jsonl"
            found.append(fingerprint(SourceFiles("a", (url,))))
        server.shutdown()
    assert found[0] == found[1] != found[2]


def test_a_bare_file_name_is_not_its_own_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.train.jsonl").touch()
    assert locate(DataConfig(sources=["a.train.jsonl"])) == [SourceFiles("a", ("a.train.jsonl",))]
    Path("a.test.jsonl").touch()
    assert locate(DataConfig(sources=["a.train.jsonl"])) == [
        SourceFiles("a", ("a.train.jsonl",), ("a.test.jsonl",))
    ]


def test_locate(tmp_path: Path) -> None:
    for name in ("a.train.jsonl", "a.test.jsonl", "b.train.csv", "prompts.parquet"):
        (tmp_path / name).touch()
    a, b = locate(DataConfig(root=str(tmp_path)))
    assert (a.name, b.name, b.test) == ("a", "b", ())
    assert a.train[0].endswith("a.train.jsonl")
    path = str(tmp_path / "a.train.jsonl")
    sibling = str(tmp_path / "a.test.jsonl")
    assert locate(DataConfig(sources=[path])) == [SourceFiles("a", (path,), (sibling,))]
    assert locate(DataConfig(sources=[f"mine={path}"])) == [
        SourceFiles("mine", (path,), (sibling,))
    ]
    assert locate(DataConfig(sources=["webgpt"])) == [
        SourceFiles("webgpt", hub=HUB_SOURCES["webgpt"])
    ]
    assert locate(DataConfig(sources=["webgpt@1a2b"])) == [
        SourceFiles("webgpt", hub=replace(HUB_SOURCES["webgpt"], revision="1a2b"))
    ]


@given(st.lists(st.binary(max_size=80), max_size=5))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_pairs_rejects_or_one_error(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\n".join(lines))
    try:
        rows = list(read_file(str(path), "mine"))
    except DataError:
        return
    assert all(isinstance(row, (Pair, Reject)) for row in rows)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = ["prompt", "chosen", "rejected", "text", "score", "margin", "message_id", "parent_id"]


@given(st.lists(st.dictionaries(st.sampled_from([*KEYS, "role", "rank"]), JSON), max_size=4))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_is_pairs_rejects_or_one_error(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    url = write_jsonl(tmp_path / "mine.jsonl", records)
    try:
        rows = list(read_file(url, "mine"))
    except DataError:
        return
    assert all(isinstance(row, (Pair, Reject)) for row in rows)


@with_real_pairs
def test_real_pairs_all_read() -> None:
    sources = locate(DataConfig(root=REAL))
    assert len(sources) == 8
    for source in sources:
        for split in ("train", "test"):
            rows = Counter(type(row) for row in iter_pairs(source, split))
            file = f"{REAL}/{source.name}.{split}.parquet"
            assert rows == {Pair: pq.read_metadata(file).num_rows}


@with_real_pairs
def test_real_raw_files_read() -> None:
    def reasons(name: str) -> Counter[str]:
        rows = read_file(f"{REAL}/raw/{name}", "raw")
        return Counter(
            row.reason.value if isinstance(row, Reject) else "tie" if row.share == 0.5 else "pair"
            for row in rows
        )

    assert reasons("hh-harmless-base.jsonl.gz") == {"pair": 399, "empty field": 1}
    assert reasons("text-score-webgpt.json") == {"pair": 170, "tie": 80}
    assert reasons("oasst1-messages.jsonl.gz") == {"pair": 325, "missing column": 2}
