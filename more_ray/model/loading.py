"""Load models from a folder, the hub or a GGUF file, or make a tiny one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GgufConfig,
    LlamaConfig,
    LlamaModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from more_ray.config import ModelConfig
from more_ray.errors import ModelError
from more_ray.model.adapter import merged
from more_ray.model.architecture import blocks, first_blocks, most_positions, short_positions
from more_ray.model.batch_format import cannot_pack
from more_ray.model.classifier_head import (
    check_plain_head,
    has_plain_head,
    is_classifier,
    output_weights,
    to_one_output,
)
from more_ray.model.location import adapter_at, cannot_load, from_pretrained, location, shape_of
from more_ray.model.lora import check_targets
from more_ray.model.onednn import mkl_is_slow, use_onednn
from more_ray.model.population import check_source, use_head_of
from more_ray.model.reward_model import PaddedClassifier, RewardModel, choose_batch_format
from more_ray.model.tokenizer import load_tokenizer, training_tokenizer
from more_ray.run_folder import settings_of

TINY = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2_048,
}


def load_classifier(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, seed: int
) -> PreTrainedModel:
    """A sequence classifier with one output; its `score` head is new unless the model has one.

    Raises:
        ModelError: nothing at `config.path` loads as a causal LM with a `score` head.
    """
    classifier = _load(
        AutoModelForSequenceClassification, config, tokenizer, dtype, seed, new={"score.weight"}
    )
    check_plain_head(classifier)
    _freeze_other_modalities(classifier)
    return classifier


def load_causal_lm(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, seed: int
) -> PreTrainedModel:
    """A causal LM with its head; raises ModelError where `config.path` does not load as one."""
    return _load(AutoModelForCausalLM, config, tokenizer, dtype, seed)


def load_policy(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, seed: int
) -> PreTrainedModel:
    """A causal LM to train with the DPO loss.

    Raises:
        ModelError: nothing at `config.path` loads as one, or its attention cannot run packed pairs.
    """
    policy = load_causal_lm(config, tokenizer, dtype, seed)
    _freeze_other_modalities(policy)
    if reason := cannot_pack(policy):
        raise ModelError(f"model.path: a policy is trained on packed answers; {reason}")
    return policy


def load_reward_model(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, device: str = "cpu"
) -> RewardModel | PaddedClassifier:
    """A trained reward model, ours or another's, ready to score pairs in its own precision.

    Raises:
        ModelError: nothing at `config.path` loads as a sequence classifier with all its weights.
    """
    classifier = _load(AutoModelForSequenceClassification, config, tokenizer, "auto", seed=0)
    if not has_plain_head(classifier):
        return PaddedClassifier(classifier).eval().to(device)
    model = RewardModel(classifier)
    choose_batch_format(model, config.batch_format, device)
    return model.eval().to(device)


def load_reward_tokenizer(config: ModelConfig, max_length: int | None) -> PreTrainedTokenizerBase:
    """The tokenizer of a trained reward model.

    Its pad token is the one that the model's config names: where texts end with that token,
    transformers reads the score at the token before. Runs of earlier versions exported the base
    model's tokenizer, so a tokenizer in a run's folder is converted as for training.

    Raises:
        ModelError: as `load_tokenizer`.
    """
    load = training_tokenizer if settings_of(config.path) else load_tokenizer
    tokenizer = load(config, max_length)
    pad = shape_of(config).get_text_config().pad_token_id
    if pad is not None and 0 <= pad < len(tokenizer):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    return tokenizer


def check_model(
    config: ModelConfig,
    max_length: int | None = None,
    policy: bool = False,
    partitioned: bool = False,
) -> None:
    """Check what can be checked without the weights, before any worker loads them.

    Args:
        policy: a policy is trained, which needs no `score` head.
        partitioned: its weights are partitioned (ZeRO-3), so all workers must run it equally often.

    Raises:
        ModelError: no causal LM with a `score` head is at `config.path`, or it has fewer than
            `config.layers` blocks, or fewer than `max_length` positions, or other outputs than
            `config.output` says, or no layers that `config.lora` names.
    """
    if config.path == "tiny":
        _check_positions(max_length, TINY["max_position_embeddings"])
        with torch.device("meta"):
            check_targets(LlamaModel(LlamaConfig(**TINY)), config)
        return
    shape = shape_of(config)
    output_weights(config, shape)
    if policy and adapter_at(config):
        raise ModelError(
            f"model.path: {config.path} is an adapter with a reward head; allowed: a causal LM"
        )
    if config.layers and config.layers > blocks(shape):
        raise ModelError(
            f"model.layers: {config.layers} given; {config.path} has {blocks(shape)} blocks"
        )
    if config.source:
        check_source(config)
    kind = AutoModelForCausalLM if policy else AutoModelForSequenceClassification
    model = _on_meta(kind, config, _cut(config, shape))
    if not policy:
        check_plain_head(model)
    check_targets(model, config)
    _check_positions(max_length, most_positions(model))
    limit = short_positions(shape)
    if partitioned and limit and (max_length or 0) > limit:
        raise ModelError(
            f"train.zero_stage: 3 given; {config.path} embeds texts of more than {limit} tokens "
            f"differently (LongRoPE); allowed: data.max_length={limit}, or another stage"
        )


def hidden_size(config: ModelConfig) -> int:
    if config.path == "tiny":
        return TINY["hidden_size"]
    return shape_of(config).get_text_config().hidden_size


def check_reward_model(config: ModelConfig, max_length: int | None = None) -> None:
    """Check from its config alone that a checkpoint holds a reward model.

    Raises:
        ModelError: there is no model at `config.path`, or it has no trained head, or other outputs
            than `config.output` says, or fewer than `max_length` positions.
    """
    if config.path == "tiny":
        raise ModelError("model.path: tiny has no trained head; allowed: a reward model")
    shape = shape_of(config)
    if not is_classifier(shape):
        kind = next(iter(shape.architectures or []), "model of no known kind")
        raise ModelError(
            f"model.path: {config.path} holds a {kind}; allowed: a sequence classifier"
        )
    output_weights(config, shape)
    if config.source:
        check_source(config)
    if max_length:
        model = _on_meta(AutoModelForSequenceClassification, config, shape)
        _check_positions(max_length, most_positions(model))


def _load(
    kind: Any,
    config: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype | str,
    seed: int,
    new: frozenset[str] | set[str] = frozenset(),
) -> PreTrainedModel:
    """A model of one of transformers' Auto classes.

    Args:
        new: weights that are drawn with the seed where the checkpoint has none.
    """
    torch.manual_seed(seed)
    if config.path == "tiny":
        shape = LlamaConfig(
            vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, num_labels=1, **TINY
        )
        model = kind.from_config(_cut(config, shape), dtype=dtype)
    else:
        stored = shape_of(config)
        shape, weight_C = _cut(config, stored), output_weights(config, stored)
        shape.num_labels = len(weight_C)
        adapter = adapter_at(config)
        quantized = "gguf_file" in location(config)
        model, found = from_pretrained(
            kind,
            adapter.base if adapter else config,
            config=shape,
            dtype=dtype,
            output_loading_info=True,
            **({"quantization_config": GgufConfig(dequantize=True)} if quantized else {}),
        )
        brought = set(adapter.tensors) if adapter else set()
        if missing := sorted(set(found["missing_keys"]) - new - brought):
            raise ModelError(
                f"model.path: {config.path} has no weights for {', '.join(missing[:3])}"
                + (f" and {len(missing) - 3} others" if len(missing) > 3 else "")
            )
        if adapter:
            model = merged(model, adapter, config)
        if weight_C.tolist() != [1]:
            # In fp32 where nothing else is asked for: in bf16 many rewards would be equal.
            of_head = dtype if isinstance(dtype, torch.dtype) else torch.float32
            to_one_output(model, weight_C, of_head)
    _agree_on_tokens(model, tokenizer)
    if config.source:
        use_head_of(model, config)
    if mkl_is_slow():
        use_onednn(model)
    return model


def _cut(config: ModelConfig, shape: PretrainedConfig) -> PretrainedConfig:
    """The config of a model with `config.layers` blocks and one output."""
    shape = first_blocks(shape, config.layers) if config.layers else copy.deepcopy(shape)
    shape.num_labels = 1
    return shape


def _on_meta(kind: Any, config: ModelConfig, shape: PretrainedConfig) -> PreTrainedModel:
    """A model without weights, from the config after it is written and read back.

    Raises:
        ModelError: transformers has no model of this kind for it.
    """
    try:
        again = type(shape).from_dict(shape.to_dict())
        with torch.device("meta"):
            return kind.from_config(again, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelError(cannot_load(config, error)) from error


def _check_positions(max_length: int | None, most: int | None) -> None:
    if max_length and most and max_length > most:
        raise ModelError(f"max_length: {max_length} given; the model takes at most {most} tokens")


def _agree_on_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    for part in (model.config, model.config.get_text_config()):
        part.pad_token_id = tokenizer.pad_token_id
        part.eos_token_id = tokenizer.eos_token_id


def _freeze_other_modalities(model: PreTrainedModel) -> None:
    """Freeze the parts for images and sound, which get no gradient from texts."""
    decoder = model.get_decoder()
    if decoder is not model.base_model:
        for part in model.base_model.children():
            part.requires_grad_(part is decoder)
