from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from more_ray.data.packing import PackedBatch, pack
from more_ray.train import batches
from more_ray.train.batches import on_device, one_ahead


def test_one_ahead() -> None:
    asked = []

    def values() -> Iterator[int]:
        for value in range(4):
            asked.append(value)
            yield value

    seen = []
    for value in one_ahead(values()):
        seen.append((value, len(asked)))
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)]
    assert list(one_ahead(iter(()))) == []


class Streams:
    """As much of `torch.cuda` as says on which stream work is put."""

    def __init__(self) -> None:
        self.current = "main"
        self.log: list[tuple[Any, ...]] = []
        self.Event = object

    def Stream(self, device: torch.device) -> Any:
        return SimpleNamespace(record_event=lambda: ("recorded on", self.current))

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, "side"
        yield
        self.current = before

    def current_stream(self, device: torch.device) -> Any:
        name = self.current
        return SimpleNamespace(wait_event=lambda event: self.log.append((name, *event)))


def test_a_gpu_computes_on_its_own_stream_and_waits_for_each_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams()
    monkeypatch.setattr(batches.torch, "cuda", streams)
    kept: list[int] = []
    monkeypatch.setattr(PackedBatch, "map", lambda batch, function: batch)
    monkeypatch.setattr(PackedBatch, "to", lambda batch, device: batch)
    given = [pack([[1, 2 + n]], [[1, 9]]) for n in range(3)]
    tensor = SimpleNamespace(record_stream=lambda stream: kept.append(1))
    monkeypatch.setattr(PackedBatch, "tensors", lambda batch: [tensor])
    for batch, expected in zip(on_device(iter(given), torch.device("cuda")), given, strict=True):
        assert batch is expected
        assert streams.current == "main"
    assert streams.log == [("main", "recorded on", "side")] * 3
    assert len(kept) == 3


def test_a_cpu_takes_them_as_they_are() -> None:
    given = [pack([[1, 2]], [[1, 3]])]
    assert list(on_device(iter(given), torch.device("cpu"))) == given
