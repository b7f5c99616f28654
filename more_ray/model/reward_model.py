"""The reward model: the trunk of a causal LM and a bias-free linear score head.

Legend: N pairs, A answers, T tokens, H hidden size, L tokens of a padded row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from more_ray.data.packing import PackedAnswers, PackedBatch, pack
from more_ray.model.attention import PACKED_ATTENTION, packed_hidden_states
from more_ray.objective.ranking import head_gradient_sums


class RewardModel(nn.Module):
    """Scores pairs; wraps a transformers sequence classifier and shares its weights."""

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = classifier
        self.packed = False
        self._last: Tensor | None = None
        self._tokens = 0
        for mlp in _last_block_mlp(classifier):
            mlp.register_forward_pre_hook(self._only_last_tokens)
            mlp.register_forward_hook(self._all_tokens)

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Rewards `[N, 2]` (chosen, rejected) in fp32 and their last hidden states `[N, 2, H]`."""
        reward_A, z_AH = self.score(batch)
        return reward_A.unflatten(0, (-1, 2)), z_AH.unflatten(0, (-1, 2))

    def score(self, batch: PackedAnswers) -> tuple[Tensor, Tensor]:
        """Rewards `[A]` in fp32 and last hidden states `[A, H]` of any number of answers."""
        z_AH = self._packed(batch) if self.packed else self._padded(batch)
        return self.classifier.score(z_AH).squeeze(-1).float(), z_AH

    @property
    def trained(self) -> PreTrainedModel:
        """What is exported."""
        return self.classifier

    def gradient_sums(
        self, z_N2H: Tensor, delta_N: Tensor, source_N: Tensor, sources: int
    ) -> Tensor:
        """Sum over each source's pairs of the gradient of (1) for the score head: `[K, H]`."""
        return head_gradient_sums(delta_N, *z_N2H.unbind(dim=1), source_N, sources)

    def _packed(self, batch: PackedAnswers) -> Tensor:
        self._last = batch.last_A
        self._tokens = len(batch.input_ids_T)
        return packed_hidden_states(self.classifier, batch)[self._last]

    def _padded(self, batch: PackedAnswers) -> Tensor:
        input_ids, mask = batch.padded()
        hidden = self.classifier.base_model(
            input_ids=input_ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        last = mask.sum(dim=1) - 1
        return hidden[torch.arange(len(last), device=last.device), last]

    def _only_last_tokens(self, mlp: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Of the last block's MLP only the tokens that are scored are needed."""
        return inputs if self._last is None else (inputs[0][:, self._last],)

    def _all_tokens(self, mlp: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """Put the MLP's few outputs where the residual stream expects them."""
        if self._last is None:
            return output
        return output.new_zeros(1, self._tokens, output.shape[-1]).index_copy(1, self._last, output)

    def use_packed(self, packed: bool) -> None:
        self.packed = packed
        self._last = None
        self.classifier.set_attn_implementation(PACKED_ATTENTION if packed else "sdpa")


class PaddedClassifier(nn.Module):
    """Scores answers with a sequence classifier whatever its head, a padded row each."""

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, batch: PackedBatch) -> tuple[Tensor, None]:
        """Rewards `[N, 2]` (chosen, rejected) in fp32."""
        return self.score(batch)[0].unflatten(0, (-1, 2)), None

    def score(self, batch: PackedAnswers) -> tuple[Tensor, None]:
        """Rewards `[A]` in fp32."""
        input_ids, mask = batch.padded()
        # Some find the last token by its not being the pad token.
        input_ids = input_ids.masked_fill(mask == 0, self.classifier.config.pad_token_id)
        logits = self.classifier(input_ids=input_ids, attention_mask=mask).logits
        return logits.squeeze(-1).float(), None


def _last_block_mlp(classifier: PreTrainedModel) -> list[nn.Module]:
    """The `mlp` of the last block, where the architecture names it so."""
    blocks = [module for module in classifier.base_model.modules() if hasattr(module, "mlp")]
    return [blocks[-1].mlp] if blocks else []


@torch.no_grad()
def choose_batch_format(forward: nn.Module, model: RewardModel, wanted: str) -> None:
    """Set the batch format; `auto` means packed where two probe pairs score as they do padded.

    A model that ignores the pairs' lengths or windows its attention gives other scores or fails.

    Args:
        forward: what runs the model, the model itself or the DeepSpeed engine around it.
    """
    if wanted != "auto":
        model.use_packed(wanted == "packed")
        return
    config = model.classifier.config
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layer_types != {"full_attention"} or getattr(config, "sliding_window", None):
        model.use_packed(False)
        return
    device = next(model.parameters()).device
    probe = pack([[3, 4, 5, 6, 7], [8, 9]], [[3, 4, 7, 8], [9, 8, 7]]).to(device)
    was_training = model.training
    model.eval()
    model.use_packed(False)
    padded_N2 = forward(probe)[0]
    model.use_packed(True)
    try:
        packed_N2 = forward(probe)[0]
        tolerance = 1e-4 if next(model.parameters()).dtype == torch.float32 else 5e-2
        same = torch.allclose(packed_N2, padded_N2, atol=tolerance, rtol=tolerance)
    except (TypeError, ValueError, RuntimeError):
        same = False
    model.use_packed(same)
    model.train(was_training)
