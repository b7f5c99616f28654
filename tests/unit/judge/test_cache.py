from __future__ import annotations

from pathlib import Path

from more_ray.judge.cache import Answer, AnswerCache, request_key


def test_an_answer_is_on_disk_as_soon_as_it_came(tmp_path: Path) -> None:
    """Also for another job beside it: a job that is killed never closes its cache."""
    with AnswerCache(str(tmp_path / "new")) as one, AnswerCache(str(tmp_path / "new")) as other:
        one.put("key", Answer("A\n\u00e9", 3, 2))
        assert other.get("key") == Answer("A\n\u00e9", 3, 2)
        assert other.get("another key") is None


def test_the_key_depends_on_the_whole_request_and_the_endpoint() -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "?"}], "temperature": 0}
    keys = {
        request_key("http://one", request),
        request_key("http://two", request),
        request_key("http://one", {**request, "temperature": 1}),
        request_key("http://one", {**request, "model": "n"}),
    }
    assert len(keys) == 4
    assert request_key("http://one", dict(reversed(request.items()))) in keys
