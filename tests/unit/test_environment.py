"""Where a result comes from."""

from __future__ import annotations

import pytest

from more_ray.environment import environment


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/some/where/bin/more-ray", "train", "a=[1, 2]"], "more-ray train 'a=[1, 2]'"),
        (["jobs/train_more.py", "--config", "mine"], "python jobs/train_more.py --config mine"),
    ],
)
def test_the_command_is_as_it_was_typed(
    argv: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", argv)
    assert environment()["command"] == command
