"""The columns of prompts, samples, and scored samples.

Imported in the environment of the engine, like `workers.py`.
"""

from __future__ import annotations

import pyarrow as pa

PROMPT = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("prompt", pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))),
]
PROMPT_SCHEMA = pa.schema(PROMPT)
"""`row` is a prompt's position in its file."""

SAMPLE_SCHEMA = pa.schema(
    [
        *PROMPT,
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
        pa.field("log_likelihood", pa.float32()),
    ]
)
"""The samples of a prompt follow each other; the columns are those of `engines.protocol.Sample`."""

SCORED_SCHEMA = pa.schema(
    [
        *SAMPLE_SCHEMA,
        pa.field("score", pa.float32()),
        pa.field("duplicate", pa.bool_(), nullable=False),
        pa.field("selected", pa.bool_(), nullable=False),
        pa.field("rewards", pa.list_(pa.float32())),
        pa.field("deviations", pa.list_(pa.float32())),
    ]
)
"""`score` is null where the response is empty; `duplicate`: whether it repeats an earlier sample of
its prompt. `rewards`: by each source, whose names are in the metadata; null where the model has one
head. `deviations`: posterior standard deviations of the score and of each of these, against the
mean of the prompt's distinct answers; null where the model has no posterior."""

BEST_SCHEMA = pa.schema(
    [SCORED_SCHEMA.field(name) for name in ("row", "prompt", "response", "score")]
)
"""The selected samples."""
