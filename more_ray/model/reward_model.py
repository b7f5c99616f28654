"""The reward model: the trunk of a causal LM and a bias-free linear score head.

Legend: N pairs, A answers, T tokens, H hidden size, L tokens of a padded row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from more_ray.data.packing import PackedAnswers, PackedBatch
from more_ray.model.architecture import short_positions
from more_ray.model.attention import PACKED_ATTENTION, VARLEN_ATTENTION, packed_hidden_states
from more_ray.model.batch_format import choose_attention
from more_ray.model.prompt_cache import Beginning
from more_ray.objective.ranking import head_gradient_sums


class RewardModel(nn.Module):
    """Scores pairs; wraps a transformers sequence classifier and shares its weights."""

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = classifier
        classifier.score.__class__ = ScoreHead
        self.packed = False
        self._own_attention = classifier.config._attn_implementation
        if self._own_attention in (
            PACKED_ATTENTION,
            VARLEN_ATTENTION,
        ):  # left in the config by a packed model
            self._own_attention = "sdpa" if classifier._supports_sdpa else "eager"
        self._short_positions = short_positions(classifier.config)
        self._last: Tensor | None = None
        self._rows = 0
        for mlp in _last_block_mlp(classifier):
            mlp.register_forward_pre_hook(self._only_last_tokens)
            mlp.register_forward_hook(self._all_tokens)
        self.train(classifier.training)

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Rewards `[N, 2]` (chosen, rejected) in fp32 and their last hidden states `[N, 2, H]`."""
        reward_A, z_AH = self.score(batch)
        return batch.by_pair(reward_A), batch.by_pair(z_AH)

    def score(
        self, batch: PackedAnswers, beginnings: Sequence[Beginning] = ()
    ) -> tuple[Tensor, Tensor]:
        """Rewards `[A]` in fp32 and last hidden states `[A, H]` of any number of answers.

        Args:
            beginnings: as in `packed_hidden_states`; none unless the model `keeps_prompts`.
        """
        packed = partial(self._packed, beginnings=beginnings if self.keeps_prompts else ())
        z_AH = batch.map_by_length(self._short_positions, packed if self.packed else self._padded)
        return self.classifier.score(z_AH).squeeze(-1), z_AH

    @property
    def keeps_prompts(self) -> bool:
        """Whether a prompt's keys and values are the same for every answer and can be read.

        LongRoPE's depend on the answer's length. On a GPU in half precision, the kernel for all
        answers reads one tensor of keys, into which kept ones would first have to be copied; that
        nobody has measured.
        """
        attention = self.classifier.config._attn_implementation
        return attention == PACKED_ATTENTION and self._short_positions is None

    @property
    def score_head(self) -> nn.Linear:
        return self.classifier.score

    @property
    def trained(self) -> PreTrainedModel:
        """The model that is exported."""
        return self.classifier

    def gradient_sums(
        self, z_N2H: Tensor, slope_N: Tensor, source_N: Tensor, sources: int
    ) -> tuple[Tensor, Tensor]:
        """The sums of `head_gradient_sums`: `[K, H]` and `[K]`."""
        return head_gradient_sums(slope_N, *z_N2H.unbind(dim=1), source_N, sources)

    def use_attention(self, packed: str | None) -> None:
        """Run packed answers with this attention; None: run padded rows with the model's own."""
        self.packed = packed is not None
        self._last = None
        self.classifier.set_attn_implementation(packed or self._own_attention)

    def _packed(self, batch: PackedAnswers, beginnings: Sequence[Beginning]) -> Tensor:
        last_A = batch.last_A
        # Blocks that are computed again in the backward pass must meet the same `_last`.
        self._last = last_A if self._short_positions is None else None
        return packed_hidden_states(self.classifier, batch, beginnings)[last_A]

    def _padded(self, batch: PackedAnswers) -> Tensor:
        input_ids, mask = batch.padded()
        hidden = self.classifier.base_model(
            input_ids=input_ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        last = mask.sum(dim=1) - 1
        return hidden[torch.arange(len(last), device=last.device), last]

    def _only_last_tokens(self, mlp: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Give the last block's MLP the scored tokens only: nothing else of its output is used."""
        if self._last is None:
            return inputs
        self._rows = inputs[0].shape[1]
        return (inputs[0][:, self._last],)

    def _all_tokens(self, mlp: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """Put the MLP's few outputs where the residual stream expects them."""
        if self._last is None:
            return output
        return output.new_zeros(1, self._rows, output.shape[-1]).index_copy(1, self._last, output)


class ScoreHead(nn.Linear):
    """A bias-free head that computes in fp32: in bf16 many rewards would be equal."""

    # Torch calls it by position.
    def forward(self, z_AH: Tensor) -> Tensor:  # ty: ignore[lost-keyword-for-regular-parameter]
        return F.linear(z_AH.float(), self.weight.float())


class PaddedClassifier(nn.Module):
    """Scores answers with a sequence classifier of any head, in padded rows."""

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = classifier
        self._short_positions = short_positions(classifier.config)
        for head in classifier.children():
            if head is not classifier.base_model:
                head.float().register_forward_pre_hook(_in_fp32)
        self.train(classifier.training)

    def forward(self, batch: PackedBatch) -> tuple[Tensor, None]:
        """Rewards `[N, 2]` (chosen, rejected) in fp32."""
        return self.score(batch)[0].unflatten(0, (-1, 2)), None

    def score(
        self, batch: PackedAnswers, beginnings: Sequence[Beginning] = ()
    ) -> tuple[Tensor, None]:
        """Rewards `[A]` in fp32. Padded rows have all their tokens, so no prompt is kept."""
        return batch.map_by_length(self._short_positions, self._padded), None

    def _padded(self, batch: PackedAnswers) -> Tensor:
        input_ids, mask = batch.padded()
        # Some classifiers score the last token that is not the pad token, and read no mask.
        input_ids = input_ids.masked_fill(mask == 0, self.classifier.config.pad_token_id)
        logits = self.classifier(input_ids=input_ids, attention_mask=mask).logits
        return logits.squeeze(-1).float()


def _in_fp32(head: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].float(),)


def _last_block_mlp(classifier: PreTrainedModel) -> list[nn.Module]:
    """The `mlp` of the last block, where the architecture names it so."""
    blocks = [module for module in classifier.base_model.modules() if hasattr(module, "mlp")]
    return [blocks[-1].mlp] if blocks else []


def choose_batch_format(
    model: RewardModel, wanted: str, device: torch.device | str | None = None
) -> None:
    """Set the batch format; `auto` means packed where the model can run it.

    Args:
        device: where the model is going to run; unset, where it is now.

    Raises:
        ModelError: `packed` is wanted of a model that cannot.
    """
    model.use_attention(
        choose_attention(model.classifier, wanted, device or model.classifier.device)
    )
