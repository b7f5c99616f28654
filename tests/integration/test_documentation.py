"""What README and docs show runs: each page from its top, small, as by a reader who copies it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from bash_with_python import bash
from documentation import PAGES, SHELL, Block, name, shown
from own_endpoint import Endpoint, says
from shown_commands import checkout, make, more_ray, pip, python
from small_settings import small
from support import answers, free_ports, wait_for, write_lines

from more_ray import api, commands
from more_ray.config import ModelConfig, ServeConfig
from more_ray.config.reading import settings
from more_ray.data.simulated import PROMPTS, Simulator
from more_ray.model.loading import load_policy, load_tokenizer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("cluster")]
SHOWN = [block for block in shown(*SHELL, "python") if not block.not_run]
PAGES_WITH_SUCH = [page for page in PAGES if any(block.page == page for block in SHOWN)]
BEFORE = (
    "set -eEu -o pipefail; trap 'echo \"line $LINENO: $BASH_COMMAND\"' ERR; "
    'python() { if [[ $1 == *.py ]]; then command python "$@"; '
    f'else {sys.executable} "$@"; fi; }}; '
    'curl() { command curl --fail-with-body "$@"; }'
)
"""A failure ends a block; scripts of the repository go to `Reader.python`, and no others."""
DEFAULT_PORT = ServeConfig.model_fields["port"].default
MINE = "outputs/mine"
SECONDS = 120
"""After which a block has failed."""


@pytest.fixture(scope="module")
def inputs(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a reader has, by its name in the documentation; meanwhile all verbs do little."""
    folder = tmp_path_factory.mktemp("reader")
    data, prompts, model = folder / "data", folder / "prompts.jsonl", folder / "model"
    others = folder / "others.jsonl"
    data.mkdir()
    simulator = Simulator(2)
    for source, population in zip(("helpful", "harmless"), simulator.names(), strict=True):
        for split, count in (("train", 64), ("test", 40)):
            records = [
                {"prompt": list(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected}
                for pair in simulator.pairs(population, split, 0, count)
            ]
            write_lines(data / f"{source}.{split}.jsonl", records)
    write_lines(prompts, [{"prompt": question} for question, _ in PROMPTS["test"][:12]])
    write_lines(others, [{"prompt": question} for question, _ in PROMPTS["train"][:12]])
    tokenizer = load_tokenizer(ModelConfig(), 512)
    load_policy(ModelConfig(), tokenizer, torch.float32, seed=0).save_pretrained(model)
    tokenizer.save_pretrained(model)
    endpoint = Endpoint(lambda number, request: says("[[A]]"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "key")
        patch.setattr(api, "settings", lambda *given: small(settings(*given), str(folder)))
        yield {
            "FOLDER": str(data),
            "FILE": str(prompts),
            "OTHER_FILE": str(others),
            "HuggingFaceTB/SmolLM2-135M-Instruct": str(model),
            "POLICY": str(model),
            "NAME": "judge",
            "https://api.openai.com/v1": endpoint.url,
            "http://HOST:8000/v1": endpoint.url,
        }
    endpoint.close()


@pytest.fixture(scope="module")
def mine(inputs: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that a page tells to make first, or takes from another page."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    model = inputs["HuggingFaceTB/SmolLM2-135M-Instruct"]
    api.train(data={"root": inputs["FOLDER"]}, model={"path": model}, output_dir=str(folder))
    return folder


class Reader:
    """Does what a page says, in a folder that looks like the repository."""

    def __init__(self, folder: Path, inputs: Mapping[str, str], after: ExitStack) -> None:
        self.folder, self.after = folder, after
        (self.port,) = free_ports(1)
        self.replaced = {**inputs, str(DEFAULT_PORT): str(self.port)}
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.functions = {
            "make": self.make,
            "more-ray": more_ray,
            "pip": pip,
            "python": self.python,
            "transformers": self.transformers,
        }

    def do(self, block: Block) -> None:
        # The workers have another working directory, so files have whole paths.
        here = {file.name: str(file) for file in self.folder.glob("*.*") if file.is_file()}
        replaced = {**self.replaced, **here, "outputs/": f"{self.folder}/outputs/"}
        longest_first = sorted(replaced, key=len, reverse=True)
        words = "|".join(re.escape(word) + r"\b" * word[-1].isalnum() for word in longest_first)
        text = re.sub(rf"(?<![\w/.])(?:{words})", lambda word: replaced[word[0]], block.text)
        text = "\n" * (block.line - 1) + text  # so that line numbers are the page's
        if block.language == "python":
            exec(compile(text, name(block.page), "exec"), self.namespace)
        else:
            self.shell(text)

    def shell(self, script: str) -> None:
        # A server is started by a function, which returns once it answers.
        script = re.sub(r" &$", "", script, flags=re.MULTILINE)
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder)}
        status, said, _ = bash(BEFORE + script, self.functions, self.folder, environment, SECONDS)
        if status:
            raise AssertionError(said)

    def make(self, targets: list[str]) -> None:
        make(targets)
        if "demo" in targets:
            more_ray(["demo"])

    def python(self, arguments: list[str]) -> None:
        if arguments[0].startswith("jobs/benchmarks/"):
            raise SystemExit("a benchmark takes long: <!-- not run: REASON -->")
        python(arguments)

    def serve(self, config: ServeConfig) -> None:
        port = self.port if config.port == DEFAULT_PORT else config.port
        self.after.enter_context(api.serve(config, port=port))

    def transformers(self, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "transformers.cli.transformers", *arguments]
        server = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        self.after.callback(server.wait)
        self.after.callback(server.kill)
        port = arguments[arguments.index("--port") + 1]
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health", server), SECONDS)


@pytest.mark.parametrize("page", PAGES_WITH_SUCH, ids=name)
def test_a_page_runs(
    page: Path,
    inputs: Mapping[str, str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = [block for block in SHOWN if block.page == page]
    text = "".join(block.text for block in blocks)
    if MINE in text and f"output_dir={MINE}" not in text:
        shutil.copytree(request.getfixturevalue("mine"), tmp_path / MINE)
    with ExitStack() as after:
        reader = Reader(tmp_path, inputs, after)
        monkeypatch.setitem(commands.VERBS, "serve", (ServeConfig, reader.serve))
        for block in blocks:
            started = time.monotonic()
            try:
                reader.do(block)
            except Exception:
                pytest.fail(f"{block}\n{block.text}\n{traceback.format_exc()}", pytrace=False)
            print(f"{block} {time.monotonic() - started:.1f} s")
