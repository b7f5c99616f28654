"""What models are called in tables and on pages: the paper's names for the names in files."""

from __future__ import annotations

from collections.abc import Sequence

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


def policy_name(reward_model: str, choice: str) -> str:
    """The name to show for a policy that was aligned with a reward model's choice (`select.by`)."""
    return shown_name(reward_model) + ("" if choice == "shared" else f" ({choice})")


def run_name(scheme: str, train_on: Sequence[str], heads: str, untrained: bool) -> str:
    """The name to show for a run: of its scheme, or that it is untrained or sees some sources only.

    Args:
        train_on: empty for all sources.
        heads: `model.heads`.
    """
    if untrained:
        return shown_name("raw")
    name = f"Top ({train_on[0]})" if len(train_on) == 1 else shown_name(scheme)
    if heads == "shared+drift":
        # compare=[drift] weighs all sources the same.
        drift = shown_name("drift")
        name = drift if scheme == "uniform" else f"{drift} ({name})"
    return f"{name} on {', '.join(train_on)}" if len(train_on) > 1 else name
