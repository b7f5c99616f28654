"""Sampling answers from a policy: S to each of P prompts in one batch, each prompt computed once.

Legend: P prompts, S samples of each, R = P * S rows, L tokens of a padded prompt, T new tokens, V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from more_ray.config.sample import PolicyConfig, SamplingConfig
from more_ray.data.formatting import encode, render_prompt
from more_ray.data.messages import Message
from more_ray.model.architecture import has_state, short_positions
from more_ray.model.loading import load_causal_lm
from more_ray.model.tokenizer import load_tokenizer
from more_ray.sample.engines.protocol import EngineRecord, Sample, cut


def open_engine(policy: PolicyConfig, sampling: SamplingConfig, gpus: float) -> Sampler:
    """The policy on this process's device; raises ModelError where it cannot be loaded."""
    tokenizer = load_tokenizer(policy, sampling.max_prompt_tokens)
    dtype = getattr(torch, policy.precision(gpus > 0))
    model = load_causal_lm(policy, tokenizer, dtype, sampling.seed)
    return Sampler(model.to("cuda" if gpus else "cpu"), tokenizer, sampling)


def record(policy: PolicyConfig, gpus: float) -> EngineRecord:
    """In bf16 the rounding, which differs between batches, changes what is drawn."""
    dtype = policy.precision(gpus > 0)
    exact = dtype == "float32"
    return EngineRecord(
        engine="transformers",
        version=version("transformers"),
        model=policy.path,
        dtype=dtype,
        reproducible="same samples in any batch" if exact else "same samples in the same batches",
    )


class Sampler:
    """Samples from a causal LM.

    A sample depends on the model, its prompt, the prompt's seed and its own number, not on the
    other prompts of the batch: those change logits by rounding only.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: SamplingConfig
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.config = config
        self.generation = _generation(model, tokenizer, config)
        # Otherwise `generate` would use defaults of the model, such as a repetition penalty.
        model.generation_config = GenerationConfig(eos_token_id=self.generation.eos_token_id)

    @torch.inference_mode()
    def sample(
        self, prompts: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> list[list[Sample]]:
        """S samples of each prompt, drawn with the prompt's seed."""
        rows = self._tokens(prompts)
        together = [index for index, row in enumerate(rows) if self._may_share(row)]
        alone = [[index] for index in range(len(rows)) if index not in together]
        sampled: dict[int, list[Sample]] = {}
        for batch in filter(None, [together, *alone]):
            drawn = self._sample(
                [rows[index] for index in batch],
                [seeds[index] for index in batch],
                prefill=batch is together,
            )
            sampled |= zip(batch, drawn, strict=True)
        return [sampled[index] for index in range(len(rows))]

    def _may_share(self, row: Sequence[int]) -> bool:
        """Whether a prompt's samples stay the same in a batch with others, and with its keys and
        values cached. They do not where padding goes through a recurrent state, nor where LongRoPE
        embeds positions differently in a longer batch.
        """
        limit = short_positions(self.model.config)
        short = limit is None or len(row) + self.config.max_new_tokens <= limit
        return short and not has_state(self.model)

    def _sample(
        self, rows: Sequence[Sequence[int]], seeds: Sequence[int], prefill: bool
    ) -> list[list[Sample]]:
        samples = self.config.samples
        input_PL, mask_PL = self._padded(rows)
        cache = None
        if prefill:
            cache = self._prefill(input_PL[:, :-1], mask_PL[:, :-1])
            cache.batch_repeat_interleave(samples)
        draws = Draws(self.config, row_seeds(seeds, samples), input_PL.shape[1], self.model.device)
        output = self.model.generate(
            input_PL.repeat_interleave(samples, dim=0),
            attention_mask=mask_PL.repeat_interleave(samples, dim=0),
            past_key_values=cache,
            generation_config=self.generation,
            logits_processor=LogitsProcessorList([draws]),
            tokenizer=self.tokenizer,
        )
        drawn = self.decode(output[:, input_PL.shape[1] :], draws)
        return [drawn[first : first + samples] for first in range(0, len(drawn), samples)]

    def encode(self, prompts: Sequence[Sequence[Message]]) -> tuple[Tensor, Tensor]:
        """Token ids `[P, L]`, padded on the left, and their mask."""
        return self._padded(self._tokens(prompts))

    def _tokens(self, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
        texts = [render_prompt(self.tokenizer, prompt) for prompt in prompts]
        return encode(self.tokenizer, texts, self.config.max_prompt_tokens)

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, rows))
        missing = [longest - len(row) for row in rows]
        pad = self.tokenizer.pad_token_id
        input_PL = [[pad] * number + list(row) for number, row in zip(missing, rows, strict=True)]
        mask_PL = [[0] * number + [1] * (longest - number) for number in missing]
        device = self.model.device
        return torch.tensor(input_PL, device=device), torch.tensor(mask_PL, device=device)

    def decode(self, token_RT: Tensor, draws: Draws) -> list[Sample]:
        """The samples that rows of new tokens spell."""
        rows = zip(token_RT.tolist(), draws.log_likelihood_RT, strict=True)
        return [self._read(row, log_likelihood_T) for row, log_likelihood_T in rows]

    def _prefill(self, input_PL: Tensor, mask_PL: Tensor) -> DynamicCache:
        cache = DynamicCache(config=self.model.config)
        self.model.base_model(
            input_ids=input_PL,
            attention_mask=mask_PL,
            position_ids=(mask_PL.cumsum(dim=1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        )
        return cache

    def _read(self, row: list[int], log_likelihood_T: Tensor) -> Sample:
        """Read a row of new tokens; padding follows an end token or a stop string."""
        ends = {*self.generation.eos_token_id, self.generation.pad_token_id}
        drawn = next((index for index, token in enumerate(row) if token in ends), len(row))
        text = self.tokenizer.decode(row[:drawn], skip_special_tokens=True)
        response, stopped = cut(text, self.config.stop)
        tokens = drawn + (drawn < len(row) and not stopped)
        return Sample(
            response,
            tokens,
            finished=stopped or drawn < len(row),
            log_likelihood=float(log_likelihood_T[:tokens].sum()),
        )


class Draws(LogitsProcessor):
    """Draws the next token of each row by the inverse of its distribution function.

    Token t of row r takes the t-th random number of the row's own seed; all other tokens get a
    score of minus infinity.

    Args:
        seeds: the seed of each row, as `numpy.random.default_rng` takes them.
        prompt_tokens: L.
    """

    def __init__(
        self,
        config: SamplingConfig,
        seeds: Sequence[Sequence[int]],
        prompt_tokens: int,
        device: torch.device | str = "cpu",
    ) -> None:
        uniform_RT = [
            np.random.default_rng([config.seed, *seed]).random(config.max_new_tokens)
            for seed in seeds
        ]
        self._uniform_RT = torch.from_numpy(np.stack(uniform_RT)).to(device)
        self._prompt_tokens = prompt_tokens
        self._log_likelihoods: list[Tensor] = []
        self._warpers = LogitsProcessorList()
        if config.temperature != 1:
            self._warpers.append(TemperatureLogitsWarper(config.temperature))
        if config.top_p < 1:
            self._warpers.append(TopPLogitsWarper(config.top_p))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores_RV = self._warpers(input_ids, scores)
        cumulated_RV = scores_RV.double().softmax(dim=-1).cumsum(dim=-1)
        cumulated_RV /= cumulated_RV[:, -1:].clone()  # ends at exactly 1, above every random number
        step = input_ids.shape[1] - self._prompt_tokens
        uniform_R1 = self._uniform_RT[:, [step]]
        token_R1 = torch.searchsorted(cumulated_RV, uniform_R1, right=True)
        log_likelihood_R1 = scores.gather(1, token_R1) - scores.logsumexp(dim=-1, keepdim=True)
        self._log_likelihoods.append(log_likelihood_R1)
        return torch.full_like(scores, -torch.inf).scatter(1, token_R1, 0.0)

    @property
    def log_likelihood_RT(self) -> Tensor:
        """Of the tokens drawn so far, by the scores as they came; those after a row's end, too."""
        return torch.cat(self._log_likelihoods, dim=1).double().cpu()


def row_seeds(seeds: Sequence[int], samples: int) -> list[tuple[int, int]]:
    """The seed of each row: its prompt's, and the sample's number."""
    return [(seed, sample) for seed in seeds for sample in range(samples)]


def _generation(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: SamplingConfig
) -> GenerationConfig:
    own = model.generation_config.eos_token_id
    stops = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
    return GenerationConfig(
        do_sample=False,  # `Draws` leaves one token
        max_new_tokens=config.max_new_tokens,
        eos_token_id=sorted(stops),
        pad_token_id=tokenizer.pad_token_id,
        # Padding marks the end of a row: it is never drawn, unless it is an end token as well.
        suppress_tokens=sorted({tokenizer.pad_token_id} - stops) or None,
        stop_strings=config.stop or None,
    )
