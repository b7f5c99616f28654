"""Models and tokenizers from a folder, the hub, a GGUF file or nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from more_ray.config import LoraConfig, ModelConfig
from more_ray.data.simulated import Simulator
from more_ray.errors import UserError
from more_ray.model.answer_tokens import runs_packed
from more_ray.model.reward_model import PaddedClassifier, RewardModel, choose_batch_format

if TYPE_CHECKING:
    from peft import LoraModel

TINY = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2_048,
}


class ModelError(UserError):
    """What could not be loaded, from where, what is allowed."""


def load_tokenizer(config: ModelConfig, max_length: int | None) -> PreTrainedTokenizerBase:
    """A tokenizer that truncates on the left and whose pad token is not its EOS.

    Without `max_length` it keeps the length that it was saved with.

    Transformers' sequence classifiers find the last token as the rightmost that is not padding,
    so an EOS that doubles as padding would move the score to the token before it.

    Raises:
        ModelError: there is no tokenizer at `config.path`.
    """
    # As arguments, not attributes: only these are saved with the tokenizer.
    sides: dict[str, Any] = {"truncation_side": "left", "padding_side": "right"}
    if max_length:
        sides["model_max_length"] = max_length
    if config.path == "tiny":
        tokenizer = _simulator_tokenizer(sides)
    else:
        tokenizer = _from_pretrained(AutoTokenizer, config, **sides)
    if tokenizer.eos_token is None:
        raise ModelError(f"model.path: the tokenizer of {config.path} has no EOS token")
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        spare = [
            token
            for token in ("<|padding|>", tokenizer.unk_token)
            if token in tokenizer.get_vocab() and token not in (tokenizer.eos_token, None)
        ]
        tokenizer.add_special_tokens({"pad_token": [*spare, "<|pad|>"][0]})
    return tokenizer


def load_classifier(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, seed: int
) -> PreTrainedModel:
    """A sequence classifier with one label; its `score` head is new unless the model has one.

    Raises:
        ModelError: nothing at `config.path` loads as a causal LM with a `score` head.
    """
    classifier = _load(
        AutoModelForSequenceClassification, config, tokenizer, dtype, seed, num_labels=1
    )
    _check_head(classifier)
    return classifier


def _load(
    kind: Any,
    config: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    seed: int,
    **overrides: Any,
) -> PreTrainedModel:
    """A model of one of transformers' Auto classes; what it has no weights for is seeded."""
    torch.manual_seed(seed)
    if config.layers:
        overrides["num_hidden_layers"] = config.layers
    if config.path == "tiny":
        shape = LlamaConfig(
            vocab_size=len(tokenizer),
            eos_token_id=tokenizer.eos_token_id,
            **{**TINY, **overrides},
        )
        model = kind.from_config(shape, dtype=dtype)
    else:
        if "gguf_file" in _location(config):
            overrides["quantization_config"] = GgufConfig(dequantize=True)
        model = _from_pretrained(kind, config, **overrides, dtype=dtype)
    _agree_on_tokens(model, tokenizer)
    return model


def load_causal_lm(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, seed: int
) -> PreTrainedModel:
    """The whole causal LM; raises ModelError where nothing at `config.path` loads as one."""
    return _load(AutoModelForCausalLM, config, tokenizer, dtype, seed)


def load_policy(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, seed: int
) -> PreTrainedModel:
    """A causal LM to train with the DPO loss.

    Raises:
        ModelError: nothing at `config.path` loads as one, or its attention cannot run packed pairs.
    """
    policy = load_causal_lm(config, tokenizer, dtype, seed)
    if not runs_packed(policy):
        raise ModelError(f"model.path: {type(policy).__name__} cannot run packed pairs")
    return policy


def check_model(config: ModelConfig) -> None:
    """What can be told without the weights, before any worker loads them.

    Raises:
        ModelError: no causal LM with a `score` head is at `config.path`, or it has fewer than
            `config.layers` blocks.
    """
    if config.path == "tiny":
        return
    shape = _shape(config)
    try:
        with torch.device("meta"):
            _check_head(AutoModelForSequenceClassification.from_config(shape))
    except (OSError, ValueError) as error:
        raise ModelError(_cannot_load(config, error)) from error
    blocks = shape.num_hidden_layers
    if config.layers and config.layers > blocks:
        raise ModelError(f"model.layers: {config.layers} given; {config.path} has {blocks} blocks")


def load_reward_model(config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    """A trained reward model, ours or another's, ready to score pairs in its own precision."""
    classifier = _from_pretrained(AutoModelForSequenceClassification, config, dtype="auto").eval()
    _agree_on_tokens(classifier, tokenizer)
    if not _has_plain_head(classifier):
        return PaddedClassifier(classifier)
    model = RewardModel(classifier)
    choose_batch_format(model, model, config.batch_format)
    return model


def check_reward_model(config: ModelConfig) -> None:
    """Whether a checkpoint holds a reward model, told from its config alone.

    Raises:
        ModelError: there is no model at `config.path`, or it has no trained head with one output.
    """
    shape = _shape(config)
    kind = next(iter(shape.architectures or []), "model of no known kind")
    if not kind.endswith("ForSequenceClassification"):
        raise ModelError(
            f"model.path: {config.path} holds a {kind}; a sequence classifier is allowed"
        )
    if shape.num_labels != 1:
        raise ModelError(
            f"model.path: {config.path} has {shape.num_labels} outputs; one is allowed"
        )


def _shape(config: ModelConfig) -> PretrainedConfig:
    return _from_pretrained(AutoConfig, config)


def _check_head(classifier: PreTrainedModel) -> None:
    if not _has_plain_head(classifier):
        raise ModelError(
            f"model.path: {type(classifier).__name__} has no bias-free `score` head; "
            "causal LMs (LLaMA, GPT-NeoX, Qwen, Mistral, GPT-2 ...) have one"
        )


def add_lora(classifier: PreTrainedModel, config: LoraConfig) -> LoraModel:
    """Put low-rank updates into the trunk; only they and the score head are trained."""
    import peft  # takes seconds

    targets = config.targets
    adapted = peft.LoraModel(
        classifier,
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            exclude_modules=["score"],
        ),
        "default",
    )
    classifier.score.requires_grad_(True)
    return adapted


def _agree_on_tokens(classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    if len(tokenizer) > classifier.get_input_embeddings().num_embeddings:
        classifier.resize_token_embeddings(len(tokenizer))
    classifier.config.pad_token_id = tokenizer.pad_token_id
    classifier.config.eos_token_id = tokenizer.eos_token_id


def _has_plain_head(classifier: PreTrainedModel) -> bool:
    return hasattr(classifier, "score") and classifier.score.bias is None


def _location(config: ModelConfig) -> dict[str, Any]:
    path = config.path
    if path.startswith("package:"):
        package, _, name = path.removeprefix("package:").partition("/")
        # Found without importing it: a carrier of weights may need packages that we do not.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(f"model.path: the Python package {package} is not installed")
        path = str(Path(spec.submodule_search_locations[0]) / name)
    location: dict[str, Any] = {
        "pretrained_model_name_or_path": path,
        "trust_remote_code": config.trust_remote_code,
    }
    if path.endswith(".gguf"):
        file = Path(path)
        if not file.is_file():
            raise ModelError(f"model.path: no file {path}")
        location |= {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    if config.revision:
        location["revision"] = config.revision
    return location


def _from_pretrained(kind: Any, config: ModelConfig, **arguments: Any) -> Any:
    try:
        return kind.from_pretrained(**_location(config), **arguments)
    except UnpicklingError as error:
        # Torch's message proposes to read them all the same.
        raise ModelError(
            f"model.path: {config.path} has weights that run code when they are read; safetensors "
            "are allowed"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(_cannot_load(config, error)) from error


def _cannot_load(config: ModelConfig, error: Exception) -> str:
    return f"model.path: cannot load {config.path}: {str(error).strip().splitlines()[0]}"


def _simulator_tokenizer(sides: dict[str, Any]) -> PreTrainedTokenizerBase:
    """Byte-level BPE over the simulator's words; other text is spelt out in bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2_000,
        special_tokens=["<|pad|>", "<|eos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(Simulator().corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|eos|>", **sides
    )
