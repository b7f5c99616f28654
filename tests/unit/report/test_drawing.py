"""What all figures share."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import more_ray.report
from more_ray.report.drawing import COLOURS, between, heatmap, no_closer, panels

PAGE = Path(more_ray.report.__file__).with_name("base.html.j2").read_text()
PAPERS = re.findall(r"--paper: (#[0-9a-f]{6})", PAGE)


def luminance(colour: str) -> float:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_stands_out_on_light_and_on_dark_pages(colour: str) -> None:
    assert len(PAPERS) == 2
    assert min(contrast(colour, paper) for paper in PAPERS) >= 3


def test_the_cells_of_a_heatmap_are_as_deep_as_their_values() -> None:
    values = between(np.array([[1.0, -0.2], [0.1, 1.0]]))
    figure = heatmap("", "", values, ["a", "b"], ["a", "b"], "of")
    assert figure.rows == [{"of": "a", "a": None, "b": -0.2}, {"of": "b", "a": 0.1, "b": None}]
    cells = re.findall(r"fill: (#\w+); opacity: ([\d.]+)", figure.svg)
    assert cells == [(COLOURS[0], "0.6"), (COLOURS[1], "0.3")]
    assert "1.00</text>" not in figure.svg


@pytest.mark.parametrize(
    ("values", "shown"), [((0.5, 0.5), (0.4, 0.6)), ((0.01, 0.01), (0, 0.2)), ((0, 1), (0, 1))]
)
def test_an_axis_does_not_blow_up_small_differences(
    values: tuple[float, float], shown: tuple[float, float]
) -> None:
    with panels(1) as (_, (axes,)):
        axes.set_xlim(values[0] - 1e-9, values[1] + 1e-9)
        no_closer(axes, "x", 0.2)
        assert axes.get_xlim() == pytest.approx(shown, abs=1e-6)
