from __future__ import annotations

import json
from pathlib import Path

import pytest

from more_ray.run_folder import CHECKPOINTS
from more_ray.train.checkpoint_record import mend, steps_done

FIRST, SECOND = ({"checkpoint_dir_name": f"step-{step:08d}"} for step in (2, 4))
WHOLE = json.dumps(
    {
        "checkpoint_results": [FIRST, SECOND],
        "checkpoint_report_indices": [0, 1],
        "latest_checkpoint_result": SECOND,
    }
)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    for one in (FIRST, SECOND):
        (tmp_path / CHECKPOINTS / one["checkpoint_dir_name"]).mkdir(parents=True)
    return tmp_path / CHECKPOINTS / "checkpoint_manager_snapshot.json"


def test_a_whole_record_stays(record: Path, tmp_path: Path) -> None:
    record.write_text(WHOLE)
    mend(str(tmp_path))
    assert json.loads(record.read_text()) == json.loads(WHOLE)
    assert steps_done(str(tmp_path)) == 4


@pytest.mark.parametrize("torn", ["", WHOLE[:20]])
def test_a_torn_record_is_put_back(record: Path, tmp_path: Path, torn: str) -> None:
    record.write_text(torn)
    record.with_name(f"{record.name}.kept").write_text(WHOLE)
    assert steps_done(str(tmp_path)) == 4
    mend(str(tmp_path))
    assert steps_done(str(tmp_path)) == 4


def test_the_first_record_torn_is_as_none(record: Path, tmp_path: Path) -> None:
    record.write_text("")
    assert steps_done(str(tmp_path)) == 0
    mend(str(tmp_path))
    assert not record.exists()
    assert steps_done(str(tmp_path)) == 0
    mend(str(tmp_path))


@pytest.mark.parametrize(("removed", "left"), [([FIRST], 4), ([SECOND], 2), ([FIRST, SECOND], 0)])
def test_a_checkpoint_that_was_removed_counts_no_more(
    record: Path, tmp_path: Path, removed: list[dict[str, str]], left: int
) -> None:
    record.write_text(WHOLE)
    for one in removed:
        (tmp_path / CHECKPOINTS / one["checkpoint_dir_name"]).rmdir()
    mend(str(tmp_path))
    assert steps_done(str(tmp_path)) == left
    mended = json.loads(record.read_text())
    assert len(mended["checkpoint_results"]) == len(mended["checkpoint_report_indices"])
