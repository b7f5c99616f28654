from __future__ import annotations

import pytest
import torch
from gpu_ceilings import reference
from gpu_settings import PYTHIA, SMOLLM2, Shape
from gpu_speed import packed_work, padded_work, step_flops
from real_lengths import padded_tokens, random_batches
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification

from more_ray.data.layout import Segment


def test_batches_are_as_long_as_real_ones_and_shorter_where_wanted() -> None:
    whole = random_batches(11, 16, 512, 1_000)
    assert [len(batch) for batch in whole] == [80] * 11
    assert all(padded_tokens(batch) == 2 * 80 * 512 for batch in whole)
    assert all(28_000 < packed_work(batch)[0] < 34_000 for batch in whole)
    (small,) = random_batches(1, 2, 24, 50)
    assert len(small) == 10
    assert max(len(one) for pair in small for one in pair) <= 24


def test_work_is_that_of_each_token() -> None:
    pairs = [([1, 2, 3], [1, 2, 4, 5])]  # two shared, one and two own
    assert packed_work(pairs) == (5, 1 + 2 + 3 + 3 + 4)
    assert padded_work(pairs) == (8, 2 * (1 + 2 + 3 + 4))


@pytest.mark.parametrize(
    ("shape", "tflop"), [(PYTHIA, 240), (SMOLLM2, 23)], ids=["Pythia-1.4B", "SmolLM2-135M"]
)
def test_a_step_of_the_real_mix_needs_what_arithmetic_says(shape: Shape, tflop: float) -> None:
    config = AutoConfig.for_model(shape.architecture, **shape.sizes, num_labels=1)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    tokens = 32_451
    assert step_flops(model, tokens, 300 * tokens) == pytest.approx(1e12 * tflop, rel=0.05)


def test_the_reference_is_plain_attention_of_each_answer_alone() -> None:
    torch.manual_seed(0)
    segments = [Segment(3, (2, 4)), Segment(0, (5, 1))]
    query, key, value = (torch.randn(1, heads, 15, 8, dtype=torch.float64) for heads in (4, 2, 2))
    found = reference(query, key, value, segments)
    alone = [[0, 1, 2, 3, 4], [0, 1, 2, 5, 6, 7, 8], [9, 10, 11, 12, 13], [14]]
    for rows in alone:
        right = F.scaled_dot_product_attention(
            *(one[:, :, rows] for one in (query, key, value)), is_causal=True, enable_gqa=True
        )
        torch.testing.assert_close(found[:, rows], right.transpose(1, 2))
