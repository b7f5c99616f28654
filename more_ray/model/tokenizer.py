"""Tokenizers, each with a chat template that writes the whole text, special tokens included."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from more_ray import storage
from more_ray.config import ModelConfig
from more_ray.data.formatting import ANSWER, TURNS, render
from more_ray.data.prepared import Prepared
from more_ray.data.simulated import Simulator
from more_ray.errors import ModelError
from more_ray.model.chat_template import ending_in_eos, transcript_template, with_arguments
from more_ray.model.location import from_pretrained, tokenizer_place

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
SIDES = {"truncation_side": "left", "padding_side": "right"}


def load_tokenizer(config: ModelConfig, max_length: int | None) -> PreTrainedTokenizerBase:
    """A model's own tokenizer, whose pad token is not its EOS.

    Its chat template renders as before, except for `config.chat_template_kwargs` and a fixed date;
    a tokenizer without a template gets the Human/Assistant form. Without `max_length` it keeps the
    length that it was saved with.

    Transformers' sequence classifiers find the last token as the rightmost that is not padding,
    so an EOS that doubles as padding would move the score to the token before it.

    Raises:
        ModelError: there is no tokenizer at `config.path`, or it cannot be used.
    """
    # As arguments, not attributes: only these are saved with the tokenizer.
    arguments: dict[str, Any] = {**SIDES, "model_max_length": max_length} if max_length else SIDES
    if config.path == "tiny":
        tokenizer = _simulator_tokenizer(arguments)
    else:
        tokenizer = from_pretrained(AutoTokenizer, tokenizer_place(config), **arguments)
    if not tokenizer.is_fast:
        raise ModelError(
            f"model.path: the tokenizer of {config.path} is a {type(tokenizer).__name__}; allowed: "
            "one with a tokenizer.json"
        )
    try:
        template = tokenizer.get_chat_template() if tokenizer.chat_template else None
    except ValueError as error:
        raise ModelError(
            f"model.path: the tokenizer of {config.path} has several chat templates and none named "
            "default"
        ) from error
    if template is None:
        beginning, ending = _own_special_tokens(tokenizer)
        if not (ending := ending or tokenizer.eos_token):
            raise ModelError(f"model.path: the tokenizer of {config.path} has no EOS token")
        template = transcript_template(beginning, ending)
    try:
        tokenizer.chat_template = with_arguments(template, config.chat_template_kwargs)
    except ValueError as error:
        raise ModelError(f"model.path: the chat template of {config.path}: {error}") from error
    _choose_pad(tokenizer)
    return tokenizer


def training_tokenizer(config: ModelConfig, max_length: int | None) -> PreTrainedTokenizerFast:
    """The tokenizer that training uses and exports, which every tool reads alike.

    Its chat template ends in EOS, it adds no special tokens to a text, and it is of the
    transformers class that uses a `tokenizer.json` without changes.

    Raises:
        ModelError: there is no tokenizer at `config.path`, or it cannot be used.
    """
    tokenizer = load_tokenizer(config, max_length)
    if tokenizer.eos_token is None:
        raise ModelError(f"model.path: the tokenizer of {config.path} has no EOS token")
    try:
        text = render(tokenizer, TURNS[:1], ANSWER)
    except jinja2.TemplateError as error:
        raise ModelError(
            f"model.path: the chat template of {config.path} cannot render a question and its "
            f"answer: {error}"
        ) from error
    template = tokenizer.chat_template
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.Sequence([])
    backend.no_truncation()
    backend.no_padding()
    kept = {name: getattr(tokenizer, name) for name in SPECIAL if getattr(tokenizer, name)}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=template if text.endswith(tokenizer.eos_token) else ending_in_eos(template),
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        **SIDES,
        **kept,
    )


def prepared_tokenizer(prepared: Prepared) -> PreTrainedTokenizerBase:
    """The tokenizer that data was prepared with."""
    with tempfile.TemporaryDirectory() as folder:
        storage.download(prepared.tokenizer_folder, Path(folder))
        return AutoTokenizer.from_pretrained(folder)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a tokenizer so that transformers 4 reads it, too."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    for trace in ("backend", "is_local", "local_files_only"):
        settings.pop(trace, None)
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")


def _own_special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """The special tokens that a tokenizer adds before and after every text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            before, after = framed[:start], framed[start + len(bare) :]
            return tuple("".join(tokenizer.convert_ids_to_tokens(ids)) for ids in (before, after))
    return "", ""


def _choose_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        spare = [
            token
            for token in ("<|padding|>", tokenizer.unk_token)
            if token in tokenizer.get_vocab() and token not in (tokenizer.eos_token, None)
        ]
        tokenizer.add_special_tokens({"pad_token": [*spare, "<|pad|>"][0]})


def _simulator_tokenizer(arguments: dict[str, Any]) -> PreTrainedTokenizerBase:
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
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|eos|>", **arguments
    )
