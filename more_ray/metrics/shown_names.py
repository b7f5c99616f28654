"""What models are called in tables and on pages: the paper's names for the names in files."""

from __future__ import annotations

MULTITASK = "MultiTask"
SHOWN = {
    "more": "MORE",
    "proportional": MULTITASK,
    "averaging": "Averaging",
    "raw": "untrained",
    "drift": "shared + drift",
    "left_out": "left out",
    "fixed": "fixed weights",
    "group_dro": "GroupDRO",
}
"""By the name that settings, folders and `eval.json` use; any other name is shown as it is."""


def shown_name(name: str) -> str:
    """The name to show for a scheme or a baseline."""
    return SHOWN.get(name, name)


def top(source: str) -> str:
    """The name of a model that was trained on one source alone."""
    return f"Top ({source})"
