"""Where prepared pairs of the simulator lie, and what is read for them, without Ray."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from more_ray.config import DataConfig
from more_ray.data.prepare import prepare
from more_ray.data.reading import Shard

TOKENIZER: Any = SimpleNamespace(
    backend_tokenizer=SimpleNamespace(to_str=lambda: "{}"),
    chat_template="",
    special_tokens_map={},
    save_pretrained=lambda folder: Path(folder, "tokenizer_config.json").write_text("{}"),
)


class Started(Exception):
    """Ray Data was given what to read."""


@pytest.fixture(autouse=True)
def _stop_before_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_items(items: list[dict[str, Shard]], **_: int) -> None:
        raise Started([item["shard"] for item in items])

    monkeypatch.setattr("ray.data.from_items", from_items)


def test_what_was_prepared_with_the_same_settings_is_reused(tmp_path: Path) -> None:
    data = DataConfig(prepared=str(tmp_path))
    with pytest.raises(Started):
        prepare(data, TOKENIZER)
    (folder,) = tmp_path.iterdir()
    (folder / "manifest.json").write_text('{"sources": {}}')
    assert prepare(data.changed(train_on=["population_1"]), TOKENIZER).folder == str(folder)
    votes = data.simulator.changed(votes=3)
    for other, soft in ((data, True), (data.changed(simulator=votes), False)):
        with pytest.raises(Started):
            prepare(other, TOKENIZER, soft=soft)


@pytest.mark.parametrize(("pairs", "test_pairs"), [([12_000, 50], [60, 20]), (70, 30)])
def test_each_population_has_its_own_number_of_pairs(
    pairs: Any, test_pairs: Any, tmp_path: Path
) -> None:
    simulator = {"sources": 2, "pairs": pairs, "test_pairs": test_pairs}
    with pytest.raises(Started) as started:
        prepare(DataConfig(simulator=simulator, prepared=str(tmp_path)), TOKENIZER)
    found_2K = np.zeros((2, 2), dtype=int)
    for shard in started.value.args[0]:
        found_2K[["train", "test"].index(shard.split), shard.source] += shard.stop - shard.start
    np.testing.assert_array_equal(
        found_2K, [np.broadcast_to(given, 2) for given in (pairs, test_pairs)]
    )
