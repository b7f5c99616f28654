"""What the chain asks for before it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import more_ray
from more_ray.align.chain import align
from more_ray.config import AlignConfig
from more_ray.config.reading import settings
from more_ray.errors import UserError

FILES = {"prompts": "prompts.jsonl", "eval_prompts": "prompts.jsonl"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"criteria": []}, "criteria: got [], allowed: tuple[helpful | harmless, ...] of length"),
        ({"finetune.init_from": "outputs/x"}, "finetune.init_from: not allowed; policy.path is"),
        ({"reward.compare": ["single"]}, "reward.compare: "),
        (
            {"reward.objective": {"loss": "sft", "scheme": "uniform"}, "reward.compare": []},
            "reward.objective.loss: ",
        ),
    ],
)
def test_settings_that_the_chain_has_no_use_for(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        settings(AlignConfig, FILES, changes)
    assert str(refused.value).startswith(said)


def test_a_missing_key_is_told_before_hours_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="OPENAI_API_KEY holds no API key"):
        more_ray.align(FILES, judge={"model": "gpt"})


def test_perplexity_is_measured_on_no_source_called_as_the_best_answers(tmp_path: Path) -> None:
    (tmp_path / "best.train.jsonl").write_text("{}\n")
    config = settings(AlignConfig, FILES, {"finetune.data.root": str(tmp_path)})
    with pytest.raises(UserError, match=r"^finetune\.data: a source is called best"):
        align(config, print, lambda text, requests: None)  # type: ignore[arg-type, return-value]


def test_without_a_judge_openai_is_not_needed() -> None:
    code = "import sys; sys.modules['openai'] = None; import more_ray.align.chain"
    subprocess.run([sys.executable, "-c", code], check=True)
