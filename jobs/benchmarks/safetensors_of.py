"""A model and its tokenizer as a folder of safetensors in bf16, which loads in a second.

python jobs/benchmarks/safetensors_of.py model.path=MODEL.gguf output=FOLDER
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import ModelConfig, Section


class Conversion(Section):
    model: ModelConfig
    """What is converted."""
    output: str
    """The folder."""


def main() -> None:
    config = load_config(Conversion, sys.argv[1:], __doc__ or "")
    import torch

    from more_ray.model.loading import load_causal_lm, load_tokenizer

    tokenizer = load_tokenizer(config.model, max_length=None)
    model = load_causal_lm(config.model, tokenizer, torch.bfloat16, seed=0)
    model.save_pretrained(config.output)
    tokenizer.save_pretrained(config.output)


if __name__ == "__main__":
    main()
