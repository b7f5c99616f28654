"""The report, from folders to a page in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from more_ray.errors import UserError
from more_ray.evaluate.files import write_scores
from more_ray.metrics.baselines import with_temperature
from more_ray.metrics.benchmarks import Scored, summarise_benchmark
from more_ray.metrics.calibration import sigmoid
from more_ray.metrics.measures import MEASURES
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import compare, summarise
from more_ray.report.drawing import colour
from more_ray.report.models import read_models
from more_ray.report.run_figures import measures_by_source, measures_of
from more_ray.report.run_page import render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SOURCES = ("helpful", "harmless")
DRAWS = 200
"""Draws of each comparison: enough for the least p that the verdict asks for."""
FIGURES = 9
WIDTHS = (390, 1280)
"""Pixels of a phone and a desktop."""
NO_NETWORK = re.compile(r"""(?:src|href)\s*=\s*["'](?!data:|#)|url\((?!#|data:)|@import""")


def scores(seed: int, sharpness: float, pairs: int = 300) -> dict[str, SourceScores]:
    """Pairs that do not depend on the seed, and rewards that are `sharpness` times too sure."""
    result = {}
    for place, name in enumerate(SOURCES):
        truth_N = np.random.default_rng(place).normal(size=pairs)
        right_N = np.random.default_rng(10 + place).random(pairs) < sigmoid(np.abs(truth_N))
        noise_N = 0.05 * np.random.default_rng(100 + seed).normal(size=pairs)
        delta_N = sharpness * (np.where(right_N, 1, -1) * np.abs(truth_N) + noise_N)
        length_N = np.arange(pairs) + 1
        result[name] = SourceScores(
            *(np.arange(pairs), delta_N, np.zeros(pairs), length_N, length_N[::-1])
        )
    return result


@cache
def evaluation(seed: int, sharpness: float) -> dict[str, Any]:
    return summarise(scores(seed, sharpness), "", 4, seed=0, resamples=100)


def save(
    folder: Path, scheme: str, seed: int, sharpness: float, train_on: tuple[str, ...] = ()
) -> str:
    """A run's folder with what a report reads; with `train_on` it has no environment."""
    write_scores(scores(seed, sharpness), str(folder))
    made = {**evaluation(seed, sharpness), "scheme": scheme}
    (folder / "eval.json").write_text(json.dumps(made))
    names = train_on or SOURCES
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"train_on": list(train_on)}}))
    lines = [
        {
            "step": step,
            "lam": dict.fromkeys(names, 1 / len(names)),
            "source_loss": dict.fromkeys(names, 0.7 - 0.01 * step),
            "cosine": np.where(np.eye(len(names)), 1.0, -0.25).tolist(),
        }
        for step in range(4)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not train_on:
        environment = {"command": "python jobs/train_more.py a='<b>'", "commit": "abc", "cores": 2}
        (folder / "environment.json").write_text(json.dumps(environment))
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def fewer_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("more_ray.report.run_page.RESAMPLES", DRAWS)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two seeds of MORE, two of an over-rewarding MultiTask, and a model for each source."""
    root = tmp_path_factory.mktemp("runs")
    made = [save(root / f"more{seed}", "more", seed, 1.0) for seed in (0, 1)]
    made += [save(root / f"proportional{seed}", "proportional", seed, 4.0) for seed in (0, 1)]
    return made + [save(root / name, "uniform", 0, 2.0, (name,)) for name in SOURCES]


@pytest.fixture(scope="module")
def page(folders: list[str]) -> str:
    return render_page(read_models(folders))


def test_runs_of_one_name_are_seeds_of_one_model(folders: list[str]) -> None:
    models = read_models(folders)
    assert [model.name for model in models] == [
        *("MORE", "MultiTask", "Top (helpful)", "Top (harmless)")
    ]
    assert [len(model.runs) for model in models] == [2, 2, 1, 1]
    more = models[0]
    for key in ("ece", "ece_noise_floor", "nll"):
        seeds = [run.evaluation["sources"]["helpful"][key] for run in more.runs]
        assert seeds[0] != seeds[1]
        assert more.evaluation["sources"]["helpful"][key] == pytest.approx(np.mean(seeds))


def test_evaluations_of_one_name_are_not_seeds_of_one_model(tmp_path: Path) -> None:
    """They do not say how their models were trained."""
    folders = [save(tmp_path / name, "more", 0, 1.0) for name in ("a", "b")]
    for folder in folders:
        Path(folder, "config.yaml").unlink()
    models = read_models(folders)
    assert [model.name for model in models] == [f"MORE ({folder})" for folder in folders]


def test_the_verdict_says_what_differs_and_how_surely(page: str, folders: list[str]) -> None:
    verdict = html.unescape(re.search(r'<div class="verdict">(.*?)</div>', page, re.S).group(1))
    assert re.findall(r"<strong>(.*?)</strong>", verdict) == [
        *("Accuracy.", "Trust.", "Beside others.", "Next.")
    ]
    assert "MORE agrees with people on" in verdict
    assert "Its probabilities hold as far as these pairs tell." in verdict
    more, multitask = (model.scores for model in read_models(folders)[:2])
    differences = compare(more, multitask, seed=0, resamples=DRAWS)["mean"]
    ece, nll = differences["ece"]["difference"], differences["nll"]["difference"]
    assert ece < -0.05
    assert (
        f"Shown: it is better calibrated (ECE {ece:+.3f}) and better by the loss (NLL {nll:+.3f}) "
        "than MultiTask."
    ) in verdict
    assert "do not tell it apart from MultiTask + temperature (accuracy" in verdict
    ends = "{:+.3f} to {:+.3f}".format(*differences["ece"]["ci"])
    assert ends in page.split("<h2>MORE minus the others, pair by pair</h2>")[1]


def test_it_says_what_it_is_about_and_explains_its_words(page: str) -> None:
    head = page.partition("</header>")[0]
    assert "<h1>Reward model MORE</h1>" in head
    assert "Tested on 600 pairs of 2 sources, helpful and harmless." in head
    assert "Beside it: MultiTask. Models of one source: 2." in head
    words = page.split("<h2>Words</h2>")[1]
    assert re.findall(r'<th scope="row">(.*?)</th>', words) == [
        *("MORE", "MultiTask", "temperature", "lam")
    ]


def test_the_means_come_first_and_each_model_on_what_it_knows(page: str) -> None:
    table = re.search(r"<h2>In numbers</h2>.*?</table>", page, re.S).group()
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table) == [
        *("model", "accuracy", "ECE", "floor", "NLL")
    ]
    names = re.findall(r'<th scope="row(?:group)?"[^>]*>(.*?)</th>', table)
    assert names == [
        *("mean over sources (600 pairs)", "MORE", "MultiTask"),
        *("helpful (300 pairs)", "MORE", "MultiTask", "Top (helpful)"),
        *("harmless (300 pairs)", "MORE", "MultiTask", "Top (harmless)"),
    ]


def test_a_temperature_undoes_over_rewarding() -> None:
    scaled = with_temperature(scores(0, 4.0), seed=0)["helpful"].delta_N
    ratio_N = scaled / scores(0, 4.0)["helpful"].delta_N
    assert len(np.unique(ratio_N.round(9))) == 2
    np.testing.assert_allclose(ratio_N, 0.25, atol=0.1)


def test_every_figure_has_its_numbers_and_its_text(page: str) -> None:
    figures = re.findall(r'<section class="figure".*?</section>', page, re.S)
    assert len(figures) == FIGURES
    for figure in figures:
        assert re.search(r'<div role="img" aria-label="[^"]{40,}">\s*<svg', figure)
        # The first tables have those of a measure by source.
        assert (figure.count("<tr>") > 1) == ("by source" not in figure)


def test_each_model_has_its_own_noise_floor_in_the_figure(folders: list[str]) -> None:
    models = read_models(folders[:4])
    figure = measures_by_source(models, MEASURES["ece"])
    mark = re.compile(r'x="([\d.]+)" y="([\d.]+)" style="fill: currentColor; stroke: currentColor"')
    *drawn, _legend = mark.findall(figure.svg)
    heights = [re.findall(rf'y="([\d.]+)" style="fill: {colour(i)}', figure.svg) for i in (0, 1)]
    names = [*SOURCES, "mean"]
    assert [y for _, y in drawn] == [y for own in heights for y in own[-4:-1]]
    floors = [[measures_of(model, name)["ece_noise_floor"] for name in names] for model in models]
    x_axis = np.array([float(x) for x, _ in drawn])
    assert np.corrcoef(x_axis, np.concatenate(floors))[0, 1] == pytest.approx(1)


def test_the_contents_lead_to_every_section(page: str) -> None:
    contents = page.partition("<nav")[2].partition("</nav>")[0]
    links = re.findall(r'<a href="#(.*?)">(.*?)</a>', contents)
    assert links[0][1] == "In numbers"
    assert "How training went, and distributions" in [text for _, text in links]
    for anchor, text in links:
        start = page.index(f'id="{anchor}"')
        assert text in page[start : start + 200]


def test_the_page_is_self_contained_and_escapes(page: str) -> None:
    assert not NO_NETWORK.search(page)
    assert "<script" not in page
    assert "python jobs/train_more.py a=&#39;&lt;b&gt;&#39;" in page


def test_the_same_runs_make_the_same_page(page: str, folders: list[str]) -> None:
    assert render_page(read_models(folders)) == page


def test_runs_that_are_not_there_or_not_of_the_same_pairs(
    folders: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"runs: .*nowhere holds no eval\.json"):
        read_models([str(tmp_path / "nowhere")])
    other = Path(save(tmp_path / "other", "uniform", 0, 1.0))
    write_scores(scores(0, 1.0, pairs=200), str(other))
    with pytest.raises(UserError, match="different pairs, 300 and 200 with 200 in common"):
        render_page(read_models([folders[0], str(other)]))
    (other / "scores.parquet").unlink()
    with pytest.raises(UserError, match=r"holds no scores\.parquet"):
        read_models([str(other)])


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
def test_a_browser_shows_it_without_a_complaint(page: str, tmp_path: Path) -> None:
    """Opened from disk, in frames as wide as a phone and a desktop, where its first table fits."""
    measure = (
        "const page = this.contentDocument.documentElement;"
        "const svgs = page.querySelectorAll('svg').length;"
        "const table = page.querySelector('.wide');"
        "const over = table.scrollWidth - table.clientWidth;"
        "document.title += `${this.width}: ${page.scrollWidth} ${over} ${svgs};`"
    )
    frames = [
        f'<iframe width={width} height=900 frameborder=0 onload="{measure}" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        for width in WIDTHS
    ]
    (tmp_path / "frames.html").write_text("\n".join(["<!doctype html><title></title>", *frames]))
    shown = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", "--timeout=20000"),
            (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in shown.stderr
    measured = re.findall(r"(\d+): (\d+) (-?\d+) (\d+);", shown.stdout.partition("</title>")[0])
    assert sorted(int(width) for width, *_ in measured) == sorted(WIDTHS), shown.stderr
    for width, needed, over, svgs in measured:
        assert int(needed) <= int(width)
        assert int(over) <= 0
        assert int(svgs) == FIGURES


def test_runs_of_other_settings_are_other_models(folders: list[str], tmp_path: Path) -> None:
    """Seeds of one model have the same config but for the seed."""
    other = Path(save(tmp_path / "other", "more", 0, 1.0))
    config = {"data": {"train_on": []}, "optimizer": {"lr": 1}}
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    models = read_models([folders[0], folders[1], str(other)])
    assert [len(model.runs) for model in models] == [2, 1]
    assert [model.name for model in models] == [f"MORE ({folders[0]})", f"MORE ({other})"]
    special = {"data": {"train_on": ["helpful"]}, "init_from": "outputs/mine"}
    (other / "config.yaml").write_text(yaml.safe_dump(special))
    assert read_models([str(other)])[0].name == "Top (helpful) from outputs/mine"


def test_the_page_shows_the_audit_of_the_data(page: str, tmp_path: Path) -> None:
    folder = Path(save(tmp_path / "run", "more", 0, 1.0))
    count = {"train": 9, "test": 3, "leaked": 0, "repeated": 0, "contradicted": 0}
    lengths = {"texts": 24, "median": 7, "percentile_95": 88, "cut": 6, "shared": 30, "own": 40}
    count |= {"contradicted_elsewhere": 2, "rejected": {"tie": 11}}
    count |= {"lengths": lengths | {"compared": 12, "longer": 4.5}}
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(environment | {"data": {"helpful": count}}))
    audited = render_page(read_models([str(folder)]))
    tables = re.findall(r"<table>.*?</table>", audited.split("<h2>Training and test data")[1], re.S)
    tables = [re.sub(r"<thead>.*</thead>|</?span[^>]*>", "", table) for table in tables]
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", table) for table in tables[:3]]
    assert rows == [
        ["helpful", "9", "3", "11", "2"],
        ["helpful", "24", "7", "88", "25.0%", "30.0%", "0.375 (0.165-0.646)"],
        ["helpful", "tie", "11"],
    ]
    assert "None in any source: leaked, twice, contradicted." in audited
    assert "Training and test data" not in page


@pytest.mark.parametrize("pairs", [10, 13, 25])
def test_a_bin_whose_pairs_are_all_right(tmp_path: Path, pairs: int) -> None:
    """The ends of its interval may miss 1 by rounding."""
    sure = {
        name: SourceScores(
            *(np.arange(pairs), np.full(pairs, 3.0), np.zeros(pairs)),
            *(np.ones(pairs), np.ones(pairs)),
        )
        for name in SOURCES
    }
    folder = save(tmp_path / "sure", "more", 0, 1.0)
    write_scores(sure, folder)
    assert "Reliability" in render_page(read_models([folder]))


def save_benchmark(folder: Path, name: str, benchmark: str = "llmbar") -> str:
    """The folder of an evaluation on a benchmark alone."""
    rng = np.random.default_rng(len(name))
    questions = [
        Scored(str(number), str(number), "natural", rng.normal(1, 1, 1), rng.normal(0, 1, 1))
        for number in range(40)
    ]
    measures = {"read_as": "pairs", "answers": 80, "cut": 7, "rejected": {}} | summarise_benchmark(
        "pairs", questions, questions, seed=0, resamples=100
    )
    made = {
        "scheme": name,
        "step": None,
        "sources": {},
        "mean": {},
        "benchmarks": {benchmark: measures},
    }
    folder.mkdir()
    (folder / "eval.json").write_text(json.dumps(made))
    return str(folder)


def test_a_page_about_benchmarks_alone(tmp_path: Path) -> None:
    """Two benchmarks of a model are not its seeds."""
    folders = [
        save_benchmark(tmp_path / "a", "mine"),
        save_benchmark(tmp_path / "b", "other"),
        save_benchmark(tmp_path / "c", "mine", "hhh"),
    ]
    models = read_models(folders)
    assert [len(model.runs) for model in models] == [1, 1, 1]
    page = render_page(models)
    table = re.search(r"<table>.*?</table>", page, re.S).group()
    assert table.count("<tr>") == 1 + 3 * 2
    score = models[0].evaluation["benchmarks"]["llmbar"]["score"]
    assert f"scores {score:.3f} (" in page
    assert "7 of 80 answers lost their beginning" in page
    assert not NO_NETWORK.search(page)


def test_benchmarks_stand_beside_the_runs_of_a_page(folders: list[str], tmp_path: Path) -> None:
    page = render_page(read_models([folders[0], save_benchmark(tmp_path / "a", "mine")]))
    assert "<h2>Benchmarks</h2>" in page
    assert "MORE agrees with people on" in page
    assert "<h2>Benchmarks</h2>" not in render_page(read_models([folders[0]]))
