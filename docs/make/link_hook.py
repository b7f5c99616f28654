"""Links of a page to what is in the repository but not on the site: code, results, cluster files.

MkDocs calls `on_page_markdown` before it reads a page. On the site such a link is plain text that
says the path, below `more_ray/` as it was written; a file that there is not ends the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

REPOSITORY = Path(__file__).parents[2]
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    folder = Path(page.file.abs_src_path).parent

    def on_site(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = (folder / target).resolve()
        if not path.exists():
            raise PluginError(f"{page.file.src_path}: {target}: no such file")
        if path.is_relative_to(REPOSITORY / "docs"):
            return link[0]
        inside = str(path.relative_to(REPOSITORY))
        if not inside.endswith(text.strip("`/")):
            return f"{text} (`{inside}`)"
        return text if inside.startswith("more_ray/") else f"`{inside}`"

    return LINK.sub(on_site, markdown)
