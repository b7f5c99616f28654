"""What each request gets, over a replica's own object with several heads, without Serve around it.

The clients are written after those of vLLM, OpenRLHF and slime: what they send, what they read.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import requests
from several_heads import NAMES, write_calibrated_run
from support import listening

from more_ray.calibrate.populations import ByPopulation
from more_ray.config import ModelConfig
from more_ray.config.serve import ServeConfig
from more_ray.metrics.calibration import sigmoid
from more_ray.model.scoring_batch import SHORT_PROMPT
from more_ray.serve.api import make_api
from more_ray.serve.service import RewardService

PROMPT = "How are plants watered?"
RESPONSES = ["With water.", "No."]
QUESTION = {"prompt": PROMPT, "responses": RESPONSES}
TEXTS = [f"Human: {PROMPT}\n\nAssistant: {response}<|eos|>" for response in RESPONSES]
"""As the chat template renders them."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> RewardService:
    folder = tmp_path_factory.mktemp("runs") / "calibrated"
    write_calibrated_run(folder)
    config = ServeConfig(model=ModelConfig(path=str(folder / "model")), max_length=64)
    return RewardService(config, digest=None)


@pytest.fixture(scope="module")
def url(service: RewardService) -> Iterator[str]:
    with listening(service.__serve_build_asgi_app__()) as address:
        yield address


@pytest.fixture(scope="module")
def scores(url: str) -> list[float]:
    found = post(url, "/score", QUESTION)["scores"]
    assert abs(found[0] - found[1]) > 0.01
    return found


def post(url: str, path: str, body: Any) -> Any:
    answer = requests.post(url + path, json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(url: str, path: str, body: Any, status: int = 422) -> str:
    answer = requests.post(url + path, json=body, timeout=30)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"detail"}
    detail = answer.json()["detail"]
    assert "\n" not in detail
    return detail


@pytest.mark.parametrize("source", [None, *NAMES, "unknown"])
def test_a_population_s_rewards_doubt_and_preferences(url: str, source: str | None) -> None:
    asked = QUESTION | ({"source": source} if source else {})
    plain = post(url, "/score", asked)
    assert plain.keys() == {"scores", "preferences", "deviations"}
    assert plain["preferences"] is plain["deviations"] is None
    sure = post(url, "/score", asked | {"calibrated": True})
    doubtful = post(url, "/score", asked | {"calibrated": True, "uncertainty": True})
    for again in (sure, doubtful):  # by the kept prompt, which changes the last digits
        assert again["scores"] == pytest.approx(plain["scores"], abs=1e-5)
    assert sure["deviations"] is None
    one, other = doubtful["deviations"]
    assert one == pytest.approx(other)  # two answers lie as far from their mean
    preference = sigmoid(np.subtract(*plain["scores"]))
    doubt = sigmoid(np.subtract(*plain["scores"]) / np.sqrt(1 + np.pi / 8 * (one + other) ** 2))
    assert doubtful["preferences"][0][1] == pytest.approx(doubt, abs=1e-5)
    wanted = doubt if source == "unknown" else preference
    assert sure["preferences"][0][1] == pytest.approx(wanted, abs=1e-5)
    assert post(url, "/score", asked | {"uncertainty": True})["preferences"] is None


def test_sources_differ_and_are_listed(url: str, scores: list[float]) -> None:
    by_source = [post(url, "/score", QUESTION | {"source": name})["scores"] for name in NAMES]
    assert by_source[0] != pytest.approx(by_source[1], rel=0.01)
    assert scores not in by_source
    info = requests.get(f"{url}/info", timeout=10).json()
    assert info["sources"] == list(NAMES)
    assert info["source"] is None
    assert info["uncertainty"] is True
    assert info["temperature"] == 1.0
    assert {"/score", "/get_reward", "/classify", "/pooling"} == info["requests"].keys()


def test_a_handle_asks_for_a_source(service: RewardService, url: str) -> None:
    async def ask() -> list[float]:
        again = RewardService(service._config, digest=None)
        return await again.score(PROMPT, RESPONSES, source="harmless")

    wanted = post(url, "/score", QUESTION | {"source": "harmless"})["scores"]
    assert asyncio.run(ask()) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("exported", [False, True])
def test_the_model_of_one_source_is_as_sure_as_that_source(
    service: RewardService, exported: bool
) -> None:
    shared = service._config.model.path
    path = shared.removesuffix("model") + "models/helpful" if exported else shared
    model = ModelConfig(path=path, source=None if exported else "helpful")

    async def ask() -> ByPopulation:
        own = RewardService(ServeConfig(model=model, max_length=64), digest=None)
        return await own.by_population(PROMPT, [*RESPONSES, "At the roots."])

    found = asyncio.run(ask())
    assert found.names == NAMES
    assert found.deviation_PA is not None
    for value_PA in (found.reward_PA, found.deviation_PA):
        assert value_PA[0] == pytest.approx(value_PA[1 + NAMES.index("helpful")], abs=1e-5)


def classify(url: str, texts: Any, **settings: Any) -> list[list[float]]:
    """As in vLLM's example clients for classification."""
    body = {"model": "any name", "input": texts, **settings}
    answer = requests.post(f"{url}/classify", json=body, timeout=30)
    answer.raise_for_status()
    return [one["probs"] for one in answer.json()["data"]]


def pooling(url: str, texts: Any, encoding_format: str, **settings: Any) -> list[list[float]]:
    """As in vLLM's example clients for pooling."""
    body = {"model": "any name", "input": texts, "encoding_format": encoding_format, **settings}
    answer = requests.post(
        f"{url}/pooling", headers={"User-Agent": "Test Client"}, json=body, timeout=30
    )
    answer.raise_for_status()
    data = [one["data"] for one in answer.json()["data"]]
    if encoding_format == "float":
        return data
    return [np.frombuffer(base64.b64decode(one), dtype="<f4").tolist() for one in data]


def token_ids(service: RewardService) -> list[list[int]]:
    return [service._scorer.tokenizer(text)["input_ids"] for text in TEXTS]


def test_vllm_s_clients_get_our_rewards(
    url: str, service: RewardService, scores: list[float]
) -> None:
    rewards = [[pytest.approx(score, abs=1e-5)] for score in scores]
    shares = [[pytest.approx(float(sigmoid(score)), abs=1e-5)] for score in scores]
    for given in (TEXTS, token_ids(service)):
        assert classify(url, given) == shares
        assert classify(url, given, use_activation=True) == shares
        assert classify(url, given, use_activation=False) == rewards
        for encoding in ("float", "base64"):
            assert pooling(url, given, encoding) == shares
            found = pooling(url, given, encoding, use_activation=False, task="classify")
            assert found == rewards
        assert classify(url, given[0], use_activation=False) == rewards[:1]
    turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": RESPONSES[0]}]
    chat = {"model": "any name", "messages": turns, "use_activation": False}
    assert post(url, "/classify", chat)["data"][0]["probs"] == rewards[0]
    assert post(url, "/pooling", chat)["data"][0]["data"] == rewards[0]


def test_vllm_s_clients_find_every_field(url: str, service: RewardService) -> None:
    tokens = sum(map(len, token_ids(service)))
    usage = {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }
    for path in ("/classify", "/pooling"):
        answer = post(url, path, {"input": TEXTS, "request_id": "mine", "user": "me"})
        assert list(answer) == ["id", "object", "created", "model", "data", "usage"]
        assert answer["id"] == f"{path[1:]}-mine"
        assert answer["object"] == "list"
        assert answer["model"] == service.info.model
        assert answer["usage"] == usage
        assert [one["index"] for one in answer["data"]] == [0, 1]
    (one, _) = post(url, "/classify", {"input": TEXTS})["data"]
    assert one.keys() == {"index", "label", "probs", "num_classes"}
    assert (one["label"], one["num_classes"]) == ("LABEL_0", 1)
    (one, _) = post(url, "/pooling", {"input": TEXTS, "encoding_format": "base64"})["data"]
    assert one.keys() == {"index", "object", "data"}
    assert one["object"] == "pooling"
    assert len(base64.b64decode(one["data"])) == struct.calcsize("<f")


def test_vllm_s_requests_are_cut_only_on_demand(url: str, service: RewardService) -> None:
    long = token_ids(service)[0] * 10
    assert len(long) > 64
    assert "input 0: " in refused(url, "/classify", {"input": long})
    assert "allowed: 64" in refused(url, "/classify", {"input": TEXTS[0] * 10})
    for kept, side, part in (
        (-1, None, long[-64:]),
        (7, None, long[-7:]),
        (7, "left", long[-7:]),
        (7, "right", long[:7]),
        (64, "right", long[:64]),
    ):
        cut = {"truncate_prompt_tokens": kept, "truncation_side": side}
        wanted = classify(url, [part])
        assert np.array(classify(url, [long], **cut)) == pytest.approx(np.array(wanted), abs=1e-5)
    assert "allowed: -1 to 64" in refused(
        url, "/classify", {"input": "x", "truncate_prompt_tokens": 65}
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "either input or messages are allowed"),
        ({"input": "a", "messages": []}, "either input or messages are allowed"),
        ({"input": []}, "input: one text or more is allowed"),
        ({"input": ""}, "input 0: no tokens; allowed: one or more"),
        ({"input": ["a", ""]}, "input 1: no tokens; allowed: one or more"),
        ({"input": [[]]}, "input 0: no tokens"),
        ({"input": [[5], [-1]]}, "input 1: token -1 given; allowed: 0 to "),
        ({"input": [2**40]}, "input 0: token 1099511627776 given; allowed: 0 to "),
        ({"input": ["a"] * 257}, "input: at most 256 texts are allowed"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "input 0: no tokens"),
        ({"input": "a", "add_generation_prompt": True}, "add_generation_prompt: Input should be"),
        ({"input": "a", "chat_template": "{{ 1 }}"}, "chat_template: Input should be null"),
        ({"messages": [{"role": "user", "content": "a"}]}, "ends with the assistant's turn"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "empty field: prompt"),
    ],
)
def test_what_vllm_s_clients_are_refused(url: str, body: Any, message: str) -> None:
    for path in ("/classify", "/pooling"):
        assert message in refused(url, path, body)


def test_pooling_is_of_classifiers_only(url: str) -> None:
    for extra in ({"task": "embed"}, {"dimensions": 3}, {"encoding_format": "bytes"}):
        assert next(iter(extra)) in refused(url, "/pooling", {"input": "a", **extra})


async def openrlhf(url: str, query: list[str], prompts: list[str], labels: list[str]) -> Any:
    """As OpenRLHF's agents ask a remote reward model: any error counts as none."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as session,
        session.post(url, json={"query": query, "prompts": prompts, "labels": labels}) as response,
    ):
        response.raise_for_status()
        return await response.json()


async def slime(url: str, prompt: Any, response: str, label: Any) -> Any:
    """As slime's `remote_rm` does; the JSON itself is the reward."""
    body = {"prompt": prompt, "response": response, "label": label}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session,
        session.post(url, json=body) as answer,
    ):
        answer.raise_for_status()
        return await answer.json()


def test_openrlhf_and_slime_get_our_rewards(url: str, scores: list[float]) -> None:
    path = f"{url}/get_reward"
    found = asyncio.run(openrlhf(path, TEXTS, [PROMPT] * 2, ["1", "2"]))
    assert found == {"rewards": pytest.approx(scores, abs=1e-5)}
    turns = [{"role": "user", "content": PROMPT}]
    begun = f"Human: {PROMPT}\n\nAssistant:"
    for prompt, before, label in ((begun, " ", "x"), (turns, "", None)):
        for response, score in zip(RESPONSES, scores, strict=True):
            for ending in ("", "<|eos|>"):  # slime leaves the stop token in
                reward = asyncio.run(slime(path, prompt, before + response + ending, label))
                assert reward == pytest.approx(score, abs=1e-5)
    for prompt in (begun, turns):  # a policy may end at once
        for nothing in ("", " "):
            assert isinstance(asyncio.run(slime(path, prompt, nothing, None)), float)


@pytest.mark.parametrize("as_text", [False, True])
def test_slime_s_prompt_is_computed_once(url: str, service: RewardService, as_text: bool) -> None:
    turns = [{"role": "user", "content": f"{PROMPT} {PROMPT if as_text else 'And when?'}"}]
    prompt = f"Human: {turns[0]['content']}\n\nAssistant:" if as_text else turns
    reused = []
    for response in ("With water.", "No."):
        asyncio.run(slime(f"{url}/get_reward", prompt, " " * as_text + response, None))
        reused.append(service._scorer.work.prompts_reused)
    assert reused[0] == 0
    assert reused[1] >= SHORT_PROMPT


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/score", {"prompt": "x"}, "either prompt and responses, or messages are allowed"),
        ("/score", {"prompt": 3, "responses": ["x"]}, "prompt.str: Input should be a valid string"),
        ("/score", QUESTION | {"reference": 1}, "reference: Extra inputs are not permitted"),
        ("/score", {"prompt": "x", "response": ["a"]}, "not permitted; allowed: prompt, responses"),
        ("/score", QUESTION | {"source": "x"}, "source: x given; allowed: helpful, harmless, unk"),
        ("/score", {"prompt": "", "responses": ["x"]}, "empty field: prompt"),
        ("/score", {"prompt": "x", "responses": [1, 2, 3, 4, 5]}, "; and 2 more"),
        ("/score", {"prompt": [1] * 2_000}, "2001 mistakes"),
        ("/score", QUESTION | {"a\nb" * 100: 1}, "a ba ba b"),
        (
            "/classify",
            {"input": [{}] * 1_000},
            "input.str: Input should be a valid string; input.li",
        ),
        ("/get_reward", {}, "either query, or prompt and response are allowed"),
        ("/get_reward", {"query": ["a"], "prompt": "b", "response": "c"}, "either query, or"),
        ("/get_reward", {"prompt": "b"}, "either query, or prompt and response are allowed"),
        ("/get_reward", {"query": ["a"], "prompts": []}, "prompts: as many as in query"),
    ],
)
def test_every_mistake_is_one_line(url: str, path: str, body: Any, message: str) -> None:
    detail = refused(url, path, body)
    assert message in detail
    assert len(detail) < 300


def test_errors_have_one_form(url: str) -> None:
    assert refused(url, "/nowhere", {}, 404) == "Not Found"
    answers = {
        405: requests.get(f"{url}/score", timeout=10),
        413: requests.post(f"{url}/score", data=b" " * (4 * 2**20 + 1), timeout=30),
        415: requests.post(f"{url}/score", data=b"{}", timeout=10),
    }
    json_type = {"Content-Type": "application/json; charset=utf-8"}
    for text in (b"", b"{", b'{"prompt": "\\ud800", "responses": ["x"]}', b'{"\\ud800": 1}'):
        answer = requests.post(f"{url}/score", data=text, headers=json_type, timeout=10)
        assert answer.status_code == 422
        assert "Invalid JSON" in answer.json()["detail"]
    for status, answer in answers.items():
        assert answer.status_code == status
        assert isinstance(answer.json()["detail"], str)
    schema = requests.get(f"{url}/openapi.json", timeout=10).json()
    for path in ("/score", "/get_reward", "/classify", "/pooling"):
        operation = schema["paths"][path]["post"]
        assert operation["description"]
        for status in ("401", "413", "415", "422", "500", "503"):
            content = operation["responses"][status]["content"]["application/json"]["schema"]
            assert content == {"$ref": "#/components/schemas/Problem"}
        assert "application/json" in operation["requestBody"]["content"]


def test_a_fault_of_ours_has_that_form_too() -> None:
    class Faulty:
        async def score_texts(self, texts: Any, prompts: Any) -> list[float]:
            raise RuntimeError("what only the log shows")

    with listening(make_api(Faulty(), digest=None)) as address:
        detail = refused(address, "/get_reward", {"query": ["a"]}, 500)
    assert detail == "an error in the service, which its log shows"


def test_samples_scored_by_one_source_s_head_get_its_doubt(tmp_path: Path) -> None:
    write_calibrated_run(tmp_path / "run")
    model = ModelConfig(path=str(tmp_path / "run" / "model"), source="harmless")
    service = RewardService(ServeConfig(model=model, max_length=64), digest=None)
    found = asyncio.run(service.by_population(PROMPT, RESPONSES))
    assert found.names == NAMES
    assert found.deviation_PA is not None
    for value_PA in (found.reward_PA, found.deviation_PA):
        assert value_PA[0] == pytest.approx(value_PA[1 + NAMES.index("harmless")], rel=1e-4)
