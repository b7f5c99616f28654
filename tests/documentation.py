"""The pages of the documentation, and what they show: fenced blocks, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from support import REPOSITORY

PAGES = [
    path
    for pattern in ("*.md", "cluster/*.md", "docs/*.md")
    for path in sorted(REPOSITORY.glob(pattern))
]
MARKDOWN = MarkdownIt().enable("table")
SHELL = ("bash", "sh")
NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*")


@dataclass(frozen=True)
class Block:
    """A fenced block, or an indented one, which has no language."""

    page: Path
    line: int
    """Of its first line of text, from 1."""
    language: str
    text: str
    not_run: str | None
    """Why, where the page says so directly above it."""

    def __str__(self) -> str:
        return f"{name(self.page)}:{self.line}"


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def blocks(page: Path, text: str) -> Iterator[Block]:
    before: Token | None = None
    for token in MARKDOWN.parse(text):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            exempt = NOT_RUN.fullmatch(before.content) if before else None
            first = token.map[0] + 1 + (token.type == "fence")
            yield Block(page, first, token.info, token.content, exempt[1] if exempt else None)
        before = token


def shown(*languages: str) -> list[Block]:
    """The blocks of all pages that are in one of `languages`."""
    found = (block for page in PAGES for block in blocks(page, page.read_text(encoding="utf-8")))
    return [block for block in found if block.language in languages]


def links(text: str) -> list[str]:
    """Where links and pictures lead to, also those that are written as HTML."""
    tokens = MARKDOWN.parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    found = [str(one.attrGet("href") or one.attrGet("src") or "") for one in inline]
    for one in (*tokens, *inline):
        if one.type in ("html_block", "html_inline"):
            found += re.findall(r'(?:href|src|srcset)="([^"]*)"', one.content)
    return [address for address in found if address]


def code_in_sentences(text: str) -> list[str]:
    inline = (child for token in MARKDOWN.parse(text) for child in token.children or ())
    return [one.content for one in inline if one.type == "code_inline"]


def anchors(text: str) -> set[str]:
    """Of the headings, as the sites that show the page name them.

    They differ in what becomes of several spaces: MkDocs makes one hyphen of them, GitHub one each.
    """
    tokens = MARKDOWN.parse(text)
    titles = [
        "".join(part.content for part in after.children or ())
        for token, after in pairwise(tokens)
        if token.type == "heading_open"
    ]
    plain = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles]
    return {re.sub(spaces, "-", title) for title in plain for spaces in (r"\s", r"[\s-]+")}
