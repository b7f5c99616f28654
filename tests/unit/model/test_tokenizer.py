"""One text for training, serving, export and every other tool, whatever the tokenizer does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pytest
import torch
from tokenizers import processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ByT5Tokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    pipeline,
)

from more_ray.config import ModelConfig, RunConfig
from more_ray.config.base import dump
from more_ray.data.formatting import encode, render, render_prompt, rerender
from more_ray.data.messages import Message
from more_ray.data.packing import pack_answers
from more_ray.errors import ModelError
from more_ray.model.chat_template import with_arguments
from more_ray.model.export import export
from more_ray.model.loading import (
    load_classifier,
    load_reward_model,
    load_reward_tokenizer,
)
from more_ray.model.reward_model import RewardModel
from more_ray.model.tokenizer import load_tokenizer, training_tokenizer

PROMPT = (
    Message(role="user", content="Why?"),
    Message(role="assistant", content="Who asks?"),
    Message(role="user", content="  Me.\n"),
)
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<turn>", "</turn>", "<sop>", "<|pad|>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<turn>' + m['role'] + '\n' + m['content'] | trim + '</turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + "
    "' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TWO_SPECIAL = "{{ '[gMASK]' if false else '<s><sop>' }}" + CHATML
TOKENIZERS: dict[str, dict[str, Any]] = {
    "chatml": {"template": CHATML, "eos_token": "<|im_end|>", "pad_token": "<|pad|>"},
    "chatml with bos": {
        **{"template": CHATML, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
    },
    "gemma": {"template": GEMMA, "bos_token": "<s>", "eos_token": "</s>", "adds": "<s> $A"},
    "llama 2": {"template": LLAMA2, "bos_token": "<s>", "eos_token": "</s>", "adds": "<s> $A"},
    "two special": {"template": TWO_SPECIAL, "bos_token": "<s>", "eos_token": "<|im_end|>"},
    "none": {"eos_token": "</s>"},
    "none, adds bos": {"bos_token": "<s>", "eos_token": "</s>", "adds": "<s> $A"},
    "none, adds both": {"bos_token": "<s>", "eos_token": "</s>", "adds": "<s> $A </s>"},
    "plain end of turn": {
        "template": CHATML.replace("<|im_end|>", "<|end|>"),
        "eos_token": "</s>",
        "pad_token": "<|pad|>",
    },
    "pad is eos": {"template": CHATML, "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"},
}
every_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)


def write_tokenizer(name: str, folder: Path) -> None:
    settings = dict(TOKENIZERS[name])
    template, adds = settings.pop("template", None), settings.pop("adds", None)
    words = load_tokenizer(ModelConfig(), None).backend_tokenizer
    words.add_special_tokens(SPECIAL)
    if adds:
        pairs = [(token, words.token_to_id(token)) for token in ("<s>", "</s>")]
        words.post_processor = processors.TemplateProcessing(single=adds, special_tokens=pairs)
    PreTrainedTokenizerFast(
        tokenizer_object=words, chat_template=template, **settings
    ).save_pretrained(folder)


def own_and_training(name: str, folder: Path) -> list[PreTrainedTokenizerBase]:
    """As the model brings it, and as training makes it."""
    write_tokenizer(name, folder)
    config = ModelConfig(path=str(folder))
    return [load_tokenizer(config, None), training_tokenizer(config, None)]


def write_reward_model(folder: Path, words: int, **config: Any) -> LlamaForSequenceClassification:
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(
        LlamaConfig(vocab_size=words, num_attention_heads=2, num_labels=1, **shape, **config)
    ).eval()
    with torch.no_grad():
        model.score.weight.normal_()
    model.save_pretrained(folder)
    return model


def scores(model: Any, tokens: Sequence[list[int]]) -> list[float]:
    with torch.no_grad():
        return model.score(pack_answers([[one] for one in tokens]))[0].tolist()


@every_tokenizer
def test_every_tool_scores_what_the_exported_template_renders(name: str, tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "export"
    write_tokenizer(name, base)
    settings = ModelConfig(path=str(base))
    tokenizer = training_tokenizer(settings, 128)
    write_reward_model(base, len(tokenizer))
    model = RewardModel(load_classifier(settings, tokenizer, torch.float32, seed=0)).eval()
    texts = [render(tokenizer, PROMPT, answer) for answer in ("So.", "No, not so at all.")]
    assert all(text.endswith(tokenizer.eos_token) for text in texts)
    tokens = encode(tokenizer, texts, 128)
    ends = [row[-1] for row in tokens]
    assert ends == [tokenizer.eos_token_id] * 2
    assert [row.count(tokenizer.eos_token_id) for row in tokens] == [
        text.count(tokenizer.eos_token) for text in texts
    ]
    expected = scores(model, tokens)
    export(model.classifier, dict(model.classifier.named_parameters()), None, tokenizer, folder)

    plain = AutoTokenizer.from_pretrained(folder)
    conversations = [
        [*PROMPT, {"role": "assistant", "content": answer}]
        for answer in ("So.", "No, not so at all.")
    ]
    again = [plain.apply_chat_template(one, tokenize=False) for one in conversations]
    assert again == texts
    for added in (True, False):
        assert plain(again, add_special_tokens=added)["input_ids"] == tokens
    judge = pipeline("text-classification", str(folder), tokenizer=plain, device="cpu")
    given = [judge(text, function_to_apply="none")[0]["score"] for text in again]
    assert given == pytest.approx(expected, abs=1e-5)
    together = judge(again, function_to_apply="none", batch_size=2)
    assert [one["score"] for one in together] == pytest.approx(expected, abs=1e-5)

    reader = load_reward_tokenizer(ModelConfig(path=str(folder)), 128)
    assert [render(reader, PROMPT, answer) for answer in ("So.", "No, not so at all.")] == texts
    assert encode(reader, texts, 128) == tokens
    assert training_tokenizer(ModelConfig(path=str(folder)), 128).chat_template == (
        tokenizer.chat_template
    )
    said = json.loads((folder / "tokenizer_config.json").read_text())
    assert said["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert said["model_input_names"] == ["input_ids", "attention_mask"]
    assert not {"local_files_only", "is_local", "backend"} & said.keys()


@every_tokenizer
def test_an_answer_continues_its_prompt_without_an_end(name: str, tmp_path: Path) -> None:
    for tokenizer in own_and_training(name, tmp_path):
        (tokens,) = encode(tokenizer, [render_prompt(tokenizer, PROMPT)], 128)
        assert tokens[-1] != tokenizer.eos_token_id or name == "llama 2"
        if tokenizer.bos_token and "chatml" not in name:
            assert tokens[0] == tokenizer.bos_token_id


@every_tokenizer
def test_truncation_keeps_what_every_text_begins_with(name: str, tmp_path: Path) -> None:
    write_tokenizer(name, tmp_path)
    tokenizer = training_tokenizer(ModelConfig(path=str(tmp_path)), 128)
    text = render(tokenizer, [Message(role="user", content="word " * 100)], "The answer.")
    (whole,), (tokens,) = encode(tokenizer, [text], 1_000), encode(tokenizer, [text], 24)
    kept = {"gemma": 1, "llama 2": 1, "two special": 2, "chatml with bos": 1}
    kept |= {"none, adds bos": 1, "none, adds both": 1}
    begin = kept.get(name, 0)
    assert len(whole) > 100
    assert tokens == [*whole[:begin], *whole[begin - 24 :]]


@every_tokenizer
def test_whole_texts_score_the_same_however_they_end(name: str, tmp_path: Path) -> None:
    """As clients send them: decoded with padding and special tokens, or without any."""
    for tokenizer in own_and_training(name, tmp_path):
        text = render(tokenizer, PROMPT, "So.")
        assert rerender(tokenizer, text) == text
        eos, pad, bos = tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token
        for other in (
            text + eos,
            f"{text}{eos}{pad}{pad}",
            f"{text} \n{eos}\n",
            f"{pad}{pad}{text}{pad}",
            f"\n{text}",
            *([f"{bos}{text}", text.removeprefix(bos)] if bos else []),
        ):
            assert rerender(tokenizer, other) == text


def test_the_template_of_another_is_rendered_as_it_is(tmp_path: Path) -> None:
    """A reward model that was trained on its own template, which ends in a line break."""
    write_tokenizer("gemma", tmp_path)
    own = AutoTokenizer.from_pretrained(tmp_path)
    plain = write_reward_model(tmp_path, len(own), pad_token_id=None)
    settings = ModelConfig(path=str(tmp_path))
    tokenizer = load_reward_tokenizer(settings, 128)
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    text = render(tokenizer, turns[:1], "So.")
    assert text == own.apply_chat_template(turns, tokenize=False)
    assert text.endswith("</turn>\n")
    ids = own.apply_chat_template(turns, return_dict=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = plain(ids).logits.item()
    tokens = encode(tokenizer, [text], 128)
    (score,) = scores(load_reward_model(settings, tokenizer), tokens)
    assert score == pytest.approx(expected, abs=1e-5)


def test_where_texts_end_in_the_padding_the_token_before_is_scored(tmp_path: Path) -> None:
    """As transformers does for another's model whose padding is its EOS."""
    write_tokenizer("pad is eos", tmp_path)
    own = AutoTokenizer.from_pretrained(tmp_path)
    own.chat_template = own.chat_template.replace("<|im_end|>\\n", "<|im_end|>").replace(
        "<|im_end|>\n", "<|im_end|>"
    )
    own.save_pretrained(tmp_path)
    plain = write_reward_model(tmp_path, len(own), pad_token_id=own.pad_token_id)
    settings = ModelConfig(path=str(tmp_path))
    tokenizer = load_reward_tokenizer(settings, 128)
    text = render(tokenizer, PROMPT[:1], "So.")
    assert text.endswith("<|im_end|>")
    with torch.no_grad():
        expected = plain(**own(text, return_tensors="pt", return_token_type_ids=False)).logits
    tokens = encode(tokenizer, [text], 128)
    (score,) = scores(load_reward_model(settings, tokenizer), tokens)
    assert score == pytest.approx(expected.item(), abs=1e-5)


def test_arguments_of_the_template_are_kept_and_its_date_does_not_change(tmp_path: Path) -> None:
    dated = (
        "{% if date is not defined %}{% set date = strftime_now('%d %b %Y') %}{% endif %}"
        "Today is {{ date }}.{% if think %} Think.{% endif %}"
    )
    write_tokenizer("chatml", tmp_path)
    own = AutoTokenizer.from_pretrained(tmp_path)
    own.chat_template = dated + CHATML
    own.save_pretrained(tmp_path)

    def first(**arguments: Any) -> str:
        config = ModelConfig(path=str(tmp_path), chat_template_kwargs=arguments)
        tokenizer = training_tokenizer(config, None)
        tokenizer.save_pretrained(tmp_path / "again")
        again = load_tokenizer(ModelConfig(path=str(tmp_path / "again")), None)
        assert render(again, PROMPT, "So.") == render(tokenizer, PROMPT, "So.")
        return render(again, PROMPT, "So.").split("<|im_start|>")[0]

    assert first() == "Today is 26 Jul 2024."
    assert first(date="1 May 2025", think=True) == "Today is 1 May 2025. Think."
    assert first(date="it's", think=False) == "Today is it's."


@pytest.mark.parametrize(
    "template",
    [
        '{{ strftime_now ( "%Y" ) }}',
        "{{ strftime_now(format='%Y') }}",
        "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}",
    ],
)
def test_dates_in_every_spelling(template: str) -> None:
    fixed = with_arguments(template, {})
    assert jinja2.Template(fixed).render(strftime_now=lambda form: "today") == "2024"


@pytest.mark.parametrize(
    "template", ["{% set f = '%Y' %}{{ strftime_now(f) }}", "{{ strftime_now('%Y' + '-%m') }}"]
)
def test_dates_that_cannot_be_fixed(template: str) -> None:
    with pytest.raises(ValueError, match="prints today's date in a form that cannot be fixed"):
        with_arguments(template, {})


def test_another_folder_named_model_is_not_taken_for_a_runs(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_tokenizer("gemma", folder)
    write_reward_model(folder, 3_000)
    own = load_reward_tokenizer(ModelConfig(path=str(folder)), None).chat_template
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    assert load_reward_tokenizer(ModelConfig(path=str(folder)), None).chat_template == own
    (tmp_path / "config.yaml").write_text(dump(RunConfig()))
    assert load_reward_tokenizer(ModelConfig(path=str(folder)), None).chat_template != own


def test_tokenizers_that_cannot_be_used(tmp_path: Path) -> None:
    write_tokenizer("none", tmp_path)
    own = AutoTokenizer.from_pretrained(tmp_path)
    own.eos_token = None
    own.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no EOS token"):
        load_tokenizer(ModelConfig(path=str(tmp_path)), None)
    own.chat_template = "{{ raise_exception('only tools') }}"
    own.eos_token = "</s>"
    own.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot render a question and its answer: only tools"):
        training_tokenizer(ModelConfig(path=str(tmp_path)), None)


def test_a_tokenizer_of_python_code_is_refused(tmp_path: Path) -> None:
    ByT5Tokenizer().save_pretrained(tmp_path)
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a ByT5Tokenizer; allowed: one with a tokenizer"):
        load_tokenizer(ModelConfig(path=str(tmp_path)), None)


def test_a_checkpoint_without_a_head_is_no_reward_model(tmp_path: Path) -> None:
    write_tokenizer("chatml", tmp_path)
    settings = ModelConfig(path=str(tmp_path))
    tokenizer = training_tokenizer(settings, None)
    model = write_reward_model(tmp_path, len(tokenizer))
    model.model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["LlamaForSequenceClassification"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"has no weights for score\.weight$"):
        load_reward_model(settings, load_reward_tokenizer(settings, None))
    load_classifier(settings, tokenizer, torch.float32, seed=0)


def test_a_loaded_model_does_not_drop_out(tmp_path: Path) -> None:
    write_tokenizer("chatml", tmp_path)
    settings = ModelConfig(path=str(tmp_path))
    write_reward_model(tmp_path, 3_000, attention_dropout=0.5)
    model = load_reward_model(settings, load_reward_tokenizer(settings, None))
    assert not any(module.training for module in model.modules())
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.attention_dropout
