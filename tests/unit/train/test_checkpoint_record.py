from __future__ import annotations

import json
from pathlib import Path

import pytest

from more_ray.train.checkpoint_record import FOLDER, mend, steps_done

WHOLE = json.dumps({"latest_checkpoint_result": {"checkpoint_dir_name": "step-00000004"}})


@pytest.fixture
def record(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir()
    return tmp_path / FOLDER / "checkpoint_manager_snapshot.json"


def test_a_whole_record_stays(record: Path, tmp_path: Path) -> None:
    record.write_text(WHOLE)
    mend(str(tmp_path))
    assert record.read_text() == WHOLE
    assert steps_done(str(tmp_path)) == 4


@pytest.mark.parametrize("torn", ["", WHOLE[:20]])
def test_a_torn_record_is_put_back(record: Path, tmp_path: Path, torn: str) -> None:
    record.write_text(torn)
    record.with_name(f"{record.name}.kept").write_text(WHOLE)
    mend(str(tmp_path))
    assert steps_done(str(tmp_path)) == 4


def test_the_first_record_torn_is_as_none(record: Path, tmp_path: Path) -> None:
    record.write_text("")
    mend(str(tmp_path))
    assert steps_done(str(tmp_path)) == 0
    mend(str(tmp_path))
