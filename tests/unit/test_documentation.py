"""What the documentation shows, as far as nothing has to run for it.

`integration/test_documentation.py` runs the rest.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from bash_with_python import bash
from documentation import (
    PAGES,
    SHELL,
    Block,
    anchors,
    blocks,
    code_in_sentences,
    links,
    name,
    shown,
)
from shown_commands import CHECKED, checkout, nothing_runs

from more_ray.commands import VERBS
from more_ray.config.reading import walk

LANGUAGES = (*SHELL, "python", "json", "yaml", "text")
SETTINGS = {key for config, _ in VERBS.values() for key, _, _ in walk(config)}
SECTIONS = {key.partition(".")[0] for key in SETTINGS if "." in key}
MENTION = re.compile(rf"(?<![\w./-])(?:{'|'.join(SECTIONS)})(?:\.[a-z_]+)+(?![\w(/.])")
"""Of a setting in a section, or of a file."""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page: Path) -> None:
    found = blocks(page, page.read_text(encoding="utf-8"))
    wrong = {str(block): block.language for block in found if block.language not in LANGUAGES}
    assert not wrong, f"allowed: {', '.join(LANGUAGES)}"


@pytest.mark.parametrize("block", shown("json", "yaml"), ids=str)
def test_what_looks_like_data_is(block: Block) -> None:
    """JSON as a whole, or a record a line."""
    if block.language == "yaml":
        yaml.safe_load(block.text)
        return
    try:
        json.loads(block.text)
    except json.JSONDecodeError:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for link in links(page.read_text(encoding="utf-8")):
        address, _, anchor = link.partition("#")
        target = page.parent / address if address else page
        if address.startswith(("http://", "https://")):
            continue
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())
        ):
            missing.append(link)
    assert not missing


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "CHANGELOG"], ids=name)
def test_settings_that_are_mentioned_are_there(page: Path) -> None:
    code = code_in_sentences(page.read_text(encoding="utf-8"))
    mentions = {word for one in code for word in MENTION.findall(one)}
    files = {word for word in mentions if word.endswith((".json", ".yaml"))}
    assert mentions - files <= SETTINGS


@pytest.mark.parametrize("block", [one for one in shown(*SHELL) if one.not_run], ids=str)
def test_what_is_not_run_has_settings_that_there_are(block: Block, tmp_path: Path) -> None:
    checkout(tmp_path)
    # Of other commands there is none: the PATH has only those that check.
    others = "command_not_found_handle() { :; }\n"
    environment = {"PATH": "", "HOME": str(tmp_path)}
    with nothing_runs():
        _, said, calls = bash(others + block.text, CHECKED, tmp_path, environment, 60)
    assert "syntax error" not in said, said
    assert not any(call.status for call in calls), said
