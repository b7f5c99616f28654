"""The schemes that weigh the sources, by the names that `objective.scheme` takes.

A new scheme is a weighting (see `weighting.py`) and a row of `SCHEMES`; settings, help, comparisons
and checks read the row. Those of the package torchjd share a row; their names have a prefix.
Importing this file imports no torch, since the command line reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from more_ray.objective.weighting import Weighting


class Settings(Protocol):
    """The settings of `objective` that weightings read."""

    @property
    def scheme(self) -> str: ...
    @property
    def weights(self) -> dict[str, float] | None: ...
    @property
    def normalize(self) -> str: ...
    @property
    def momentum(self) -> float: ...
    @property
    def solver(self) -> str: ...
    @property
    def debias(self) -> bool: ...
    @property
    def dro_step(self) -> float: ...


@dataclass(frozen=True)
class Scheme:
    """How a scheme's weighting is made, and what must be known about it beforehand."""

    make: Callable[[Settings, Sequence[str], Sequence[int]], Weighting]
    """From the settings, the K sources' names and their numbers of training pairs."""
    help: str
    """Follows the name in the help text."""
    needs_gradients: bool = False
    """lam is solved from gradients of the head, which not every loss has."""
    takes_weights: bool = False
    """`objective.weights` must be given; with the other schemes it must not."""


def _more(settings: Settings, names: Sequence[str], sizes: Sequence[int]) -> Weighting:
    from more_ray.objective.weighting import MinNorm

    return MinNorm(settings.normalize, settings.momentum, settings.solver, settings.debias)


def _uniform(settings: Settings, names: Sequence[str], sizes: Sequence[int]) -> Weighting:
    return _fixed([1] * len(names))


def _proportional(settings: Settings, names: Sequence[str], sizes: Sequence[int]) -> Weighting:
    return _fixed(sizes)


def _given(settings: Settings, names: Sequence[str], sizes: Sequence[int]) -> Weighting:
    given = settings.weights or {}
    if set(given) != set(names):
        raise ValueError(
            f"objective.weights: names {sorted(given)}; allowed are exactly {sorted(names)}"
        )
    return _fixed([given[name] for name in names])


def _group_dro(settings: Settings, names: Sequence[str], sizes: Sequence[int]) -> Weighting:
    from more_ray.objective.weighting import GroupDro

    return GroupDro(settings.dro_step)


def _torchjd(settings: Settings, names: Sequence[str], sizes: Sequence[int]) -> Weighting:
    from more_ray.objective.from_torchjd import TorchJD

    return TorchJD(settings.scheme.removeprefix(TORCHJD), settings.debias)


def _fixed(shares: Sequence[float]) -> Weighting:
    import numpy as np

    from more_ray.objective.weighting import Fixed

    share_K = np.asarray(shares, dtype=np.float64)
    return Fixed(share_K / share_K.sum())


TORCHJD = "torchjd:"
"""What the names of torchjd's weightings begin with."""
SCHEMES = {
    "more": Scheme(_more, "solves (9) each step", needs_gradients=True),
    "uniform": Scheme(_uniform, "gives all sources the same"),
    "proportional": Scheme(_proportional, "goes by |D_i| (the paper's MultiTask)"),
    "fixed": Scheme(_given, "takes `weights`", takes_weights=True),
    "group_dro": Scheme(_group_dro, "counts sources of high loss more (Sagawa et al. 2020)"),
    f"{TORCHJD}NAME": Scheme(
        _torchjd,
        "takes a method of the package torchjd (torchjd:UPGrad), its weights divided by their sum",
        needs_gradients=True,
    ),
}


def scheme_of(name: str) -> Scheme:
    """The row of a scheme."""
    return SCHEMES[f"{TORCHJD}NAME" if name.startswith(TORCHJD) else name]


def check_torchjd(name: str) -> None:
    """Check that a scheme whose name begins with `TORCHJD` can be made.

    Raises:
        ValueError: torchjd has no such weighting, or is not installed.
    """
    from more_ray.objective.from_torchjd import TorchJD, usable

    try:
        if name.removeprefix(TORCHJD) not in usable():
            allowed = " | ".join(f"{TORCHJD}{one}" for one in usable())
            raise ValueError(f"got {name!r}, allowed: {allowed}")
        TorchJD(name.removeprefix(TORCHJD))
    except ImportError as error:
        raise ValueError(f"{name}: pip install 'torchjd[quadprog-projector]' first") from error


def make_weighting(settings: Settings, names: Sequence[str], sizes: Sequence[int]) -> Weighting:
    """The weighting that `settings.scheme` names.

    Args:
        names: the K sources in order.
        sizes: |D_i|, distinct training pairs of each.

    Raises:
        ValueError: `objective.weights` does not name exactly the sources of the run.
    """
    return scheme_of(settings.scheme).make(settings, names, sizes)
