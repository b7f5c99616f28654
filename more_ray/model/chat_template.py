"""Chat templates (Jinja, as transformers renders them): ours, and the changes that others need.

What changes a rendering is written into the template itself, so that whoever has the tokenizer
renders the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from more_ray.data.formatting import SPEAKER

DATE = date(2024, 7, 26)
"""The date that templates print instead of today's, so that texts do not change from day to day. It
is the date that LLaMA's own template falls back to."""

_TODAY = re.compile(r"strftime_now\s*\(\s*(?:format\s*=\s*)?(['\"])([^'\"]*)\1\s*\)")


def transcript_template(beginning: str, ending: str) -> str:
    """The Human/Assistant form, for tokenizers that bring no template.

    Args:
        beginning, ending: texts before and after every conversation, such as BOS and EOS.
    """
    return (
        "{{ " + repr(beginning) + " }}"
        "{% for message in messages %}"
        "{% if message['role'] not in " + repr(list(SPEAKER)) + " %}"
        "{{ raise_exception('allowed: turns of ' ~ " + repr(", ".join(SPEAKER)) + ") }}{% endif %}"
        "{{ " + repr(SPEAKER) + "[message['role']] }}: "
        "{{ message['content'] | trim }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '\\n\\n" + SPEAKER["assistant"] + ":' }}"
        "{% else %}{{ " + repr(ending) + " }}{% endif %}"
    )


def with_arguments(template: str, arguments: Mapping[str, Any]) -> str:
    """The template with its variables set, and with a fixed date instead of today's.

    Raises:
        ValueError: it prints today's date in a format that it does not spell out.
    """
    dated = _TODAY.sub(lambda found: repr(DATE.strftime(found[2])), template)
    if re.search(r"strftime_now(?!\s+is\b)", dated):
        raise ValueError("it prints today's date in a form that cannot be fixed")
    return "".join(f"{{% set {name} = {value!r} %}}" for name, value in arguments.items()) + dated


def ending_in_eos(template: str) -> str:
    """The template with its last white space removed, then EOS unless it ends with EOS already.

    Its rendering for generation, which an answer continues, does not change.
    """
    return (
        "{% set conversation %}" + template.removesuffix("\n") + "{% endset %}"
        "{% if add_generation_prompt %}{{ conversation }}"
        "{% else %}{% set conversation = conversation.rstrip() %}"
        "{{ conversation if conversation.endswith(eos_token) else conversation + eos_token }}"
        "{% endif %}"
    )
