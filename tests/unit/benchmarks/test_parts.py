from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from parts import Part, Record, run_parts

GOOD = Part("good", "builtins.dict", ({"error": 0.5},))
FAILS = Part("fails", "os.listdir", ("/no such folder",))
DIES = Part("dies", "os._exit", (3,))
SLEEPS = Part("sleeps", "time.sleep", (600,))
LAST = Part("last", "builtins.dict", ({},))


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "phase.json", {"some": "setting"})


def run(record: Record, *parts: Part, seconds: float = 60, within: Part | None = None) -> None:
    record.undone = [part.name for part in parts]
    run_parts(parts, record, time.monotonic() + seconds, within)


def test_what_fails_or_dies_costs_no_other_part(record: Record) -> None:
    run(record, GOOD, FAILS, DIES, LAST)
    written = json.loads(record.path.read_text())
    assert list(written["done"]) == ["good", "last"]
    assert written["done"]["good"]["error"] == 0.5
    assert written["failed"]["fails"].startswith("FileNotFoundError: ")
    assert written["failed"]["dies"] == "the process ended"
    assert written["undone"] == []
    assert written["settings"] == {"some": "setting"}
    assert written["measured_with"]["versions"]["torch"]


def test_the_deadline_stops_a_part_and_names_what_is_undone(record: Record) -> None:
    started = time.monotonic()
    run(record, GOOD, SLEEPS, LAST, seconds=6)
    assert time.monotonic() - started < 30
    assert list(record.done) == ["good"]
    assert record.undone == ["sleeps", "last"]
    assert record.failed == {}


def test_nothing_begins_after_the_deadline(record: Record) -> None:
    run(record, GOOD, seconds=0)
    assert (record.done, record.undone) == ({}, ["good"])


def test_a_context_that_cannot_be_entered_fails_its_parts(record: Record) -> None:
    run(record, GOOD, LAST, within=FAILS)
    assert record.failed == {"good": "the process ended", "last": "the process ended"}
