"""The texts of test pairs, as the tokens of prepared data spell them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from more_ray.data.prepared import TOKENS, Prepared


def read_texts(prepared: Prepared, tokenizer: PreTrainedTokenizerBase) -> dict[str, pa.Table]:
    """The texts of every source's test pairs, a row each, in their order.

    `text.shared` is what both sequences begin with, the prompt and perhaps the first words of both
    answers; `text.chosen` and `text.rejected` are the rest of each. What preparation cut off for
    `data.max_length` is missing, and so are special tokens.
    """
    tables = {}
    for name, size in zip(prepared.names, prepared.sizes("test"), strict=True):
        rows = prepared.file(name, "test").take(np.arange(size), TOKENS)
        tables[name] = pa.table(
            {
                f"text.{part}": tokenizer.batch_decode(
                    rows[part].to_pylist(), skip_special_tokens=True
                )
                for part in TOKENS
            }
        )
    return tables
