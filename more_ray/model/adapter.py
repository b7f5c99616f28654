"""PEFT adapters of others, merged into their base model."""

from __future__ import annotations

from transformers import PreTrainedModel

from more_ray.config import ModelConfig
from more_ray.errors import ModelError
from more_ray.model.location import PEFT_PREFIX, Adapter, cannot_load


def merged(model: PreTrainedModel, adapter: Adapter, config: ModelConfig) -> PreTrainedModel:
    """The base model with the adapter's updates in its weights, and the adapter's head.

    Raises:
        ModelError: the adapter does not fit the model, or cannot be merged into weights.
    """
    import peft  # takes seconds

    own = model.state_dict().keys()
    _resize_embeddings(model, adapter)
    try:
        adapted = peft.PeftModel.from_pretrained(model, adapter.folder, torch_device="cpu")
        kind = adapted.active_peft_config
        # aLoRA's updates count from certain tokens on only.
        if kind.is_prompt_learning or getattr(kind, "alora_invocation_tokens", None):
            raise ModelError(
                f"model.path: {config.path} is an adapter that cannot be merged into weights "
                f"({kind.peft_type.value}); allowed: LoRA and its relatives"
            )
        state = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
        wanted = {name.removeprefix(PEFT_PREFIX) for name in state}
        if absent := sorted(wanted - own - adapter.tensors.keys()):
            raise ModelError(
                f"model.path: the adapter {config.path} does not fit its base model "
                f"{adapter.base.path}: it has no {absent[0]}"
            )
        whole = adapted.merge_and_unload()
    except (OSError, ValueError, ImportError, RuntimeError, NotImplementedError) as error:
        raise ModelError(cannot_load(config, error)) from error
    return whole.requires_grad_(True)  # peft has frozen what is not its own


def _resize_embeddings(model: PreTrainedModel, adapter: Adapter) -> None:
    """Make room for the embeddings of tokens that came with the adapter."""
    embeddings = model.get_input_embeddings()
    name = next(name for name, part in model.named_modules() if part is embeddings)
    rows = adapter.tensors.get(f"{name}.weight", [embeddings.num_embeddings])[0]
    if rows != embeddings.num_embeddings:
        model.resize_token_embeddings(rows)
