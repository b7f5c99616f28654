"""The comparison with other tools, by the one that needs no packages of its own."""

from __future__ import annotations

from pathlib import Path

import peers
import pytest


def test_a_pipeline_of_transformers_scores_an_export_as_we_do(tmp_path: Path) -> None:
    pairs = peers.read_pairs(None)[:3]
    asked, ours_T, whole_T = peers.question(peers.tiny_model(tmp_path / "run" / "model"), pairs)
    assert whole_T.all()
    assert ours_T.std() > 0.1
    # Scores that are 1 off are seen to be exactly that.
    (row,) = peers.compared("text_classification", tmp_path, 1, asked, ours_T + 1, whole_T)
    assert (row["model"], row["asked"], row["texts"]) == ("run", "pipeline", 6)
    assert row["largest difference"] == pytest.approx(1, abs=1e-5)


def test_a_tool_that_fails_is_a_row_that_says_so(tmp_path: Path) -> None:
    pairs = peers.read_pairs(None)[:1]
    asked, ours_T, whole_T = peers.question(peers.tiny_model(tmp_path / "run" / "model"), pairs)
    asked["model"] = str(tmp_path)
    (row,) = peers.compared("text_classification", tmp_path, 1, asked, ours_T, whole_T)
    assert row["version"] == "failed: exit status 1"
    assert row["largest difference"] is None


def test_an_unknown_tool_is_named() -> None:
    with pytest.raises(ValueError, match="vllm given, allowed: text_classification, rewardbench"):
        peers.PeersConfig(peers=["vllm"])
