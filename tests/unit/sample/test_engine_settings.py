"""Which engine samples, and what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import write_lines, write_reward_model

from more_ray.align.chain import align
from more_ray.config import AlignConfig, PolicyConfig, RejectionSamplingConfig
from more_ray.config.reading import build
from more_ray.errors import ModelError, UserError
from more_ray.sample.engines.protocol import cut, request_seed
from more_ray.sample.engines.registry import record
from more_ray.sample.run import check_inputs


def sampling(policy: dict[str, Any], folder: Path = Path("inputs")) -> RejectionSamplingConfig:
    inputs = {"prompts": str(folder / "prompts.jsonl"), "reward": {"path": str(folder / "reward")}}
    return build(RejectionSamplingConfig, [{**inputs, "policy": policy}])


@pytest.mark.parametrize("given", [{}, {"base_url": "http://a/v1"}, {"name": "m"}])
def test_an_endpoint_has_an_address_and_a_model(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^policy\.engine: openai needs policy\.base_url and"):
        sampling({"engine": "openai", **given})


def test_no_endpoint_serves_the_policies_that_align_makes() -> None:
    policy = {"engine": "openai", "base_url": "http://a/v1", "name": "m"}
    values = {"prompts": "a", "eval_prompts": "b"}
    with pytest.raises(UserError, match=r"^policy\.engine: got openai, allowed: transformers | vl"):
        build(AlignConfig, [{**values, "policy": policy}])
    assert build(AlignConfig, [{**values, "policy": {"engine": "vllm"}}]).policy.engine == "vllm"


def test_another_model_in_the_same_engine() -> None:
    policy = PolicyConfig(
        path="base", revision="main", engine="vllm", engine_args={"seed": 1}, dtype="bfloat16"
    )
    made = policy.at("made")
    assert made == PolicyConfig(
        path="made", engine="vllm", engine_args={"seed": 1}, dtype="bfloat16"
    )


@pytest.mark.parametrize(
    ("dtype", "gpus", "expected", "again"),
    [
        ("auto", 0, "float32", "same samples in any batch"),
        ("auto", 0.5, "bfloat16", "same samples in the same batches"),
        ("float32", 1, "float32", "same samples in any batch"),
        ("bfloat16", 0, "bfloat16", "same samples in the same batches"),
    ],
)
def test_rounding_decides_how_reproducible_samples_are(
    dtype: str, gpus: float, expected: str, again: str
) -> None:
    kept = record(PolicyConfig.model_validate({"dtype": dtype}), gpus)
    assert (kept["dtype"], kept["reproducible"]) == (expected, again)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_lines(folder / "prompts.jsonl", [{"prompt": "Why?"}])
    write_reward_model(folder / "reward")
    return folder


@pytest.mark.parametrize(
    "policy", [{"path": "tiny"}, {"path": "a/model.gguf"}, {"path": "folder", "layers": 2}]
)
def test_vllm_takes_whole_models_in_folders(inputs: Path, policy: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"^policy\.path: vllm takes neither"):
        check_inputs(sampling({"engine": "vllm", **policy}, inputs))


def test_align_says_so_before_it_trains_anything() -> None:
    values = {"prompts": "a", "eval_prompts": "b", "policy": {"engine": "vllm"}}
    with pytest.raises(ModelError, match=r"^policy\.path: vllm takes neither tiny"):
        align(build(AlignConfig, [values]), stage=pytest.fail, judge_bar=pytest.fail)


def test_an_environment_without_vllm_is_named() -> None:
    with pytest.raises(UserError, match=r"^policy\.python: its environment has no vLLM"):
        record(PolicyConfig(engine="vllm"), 0)


def test_an_endpoint_needs_no_model_here(inputs: Path) -> None:
    policy = {"engine": "openai", "base_url": "http://a/v1", "name": "m", "path": "nowhere"}
    assert len(check_inputs(sampling(policy, inputs))) == 1


def test_the_first_of_several_stop_strings_ends_an_answer() -> None:
    assert cut(" Yes, or no. ", ["no", "or"]) == ("Yes,", True)
    assert cut(" Yes. ", ["no"]) == ("Yes.", False)
    assert cut("no", ["no"]) == ("", True)


def test_seeds_are_their_own() -> None:
    seeds = [request_seed(0, row, sample) for row in range(50) for sample in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
