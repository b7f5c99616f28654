"""Whatever records hold, reading gives pairs and rejects, or one error in a line."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from more_ray.data.records import Pair
from more_ray.data.rejects import Reject
from more_ray.data.shapes import HowToRead, look, read_pairs
from more_ray.data.shapes.known import SHAPES
from more_ray.data.shapes.paths import column
from more_ray.errors import DataError

COLUMNS = sorted(
    {column(path, {}) for shape in SHAPES for path in shape.needs}
    | {"system", "history", "input", "margin", "subset", "score_chosen", "score_rejected"}
)
INSIDE = ["role", "content", "from", "value", "tool_calls", "type", "text", "response", "score"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["user", "assistant", "tool", "tie", "a", "1", '[{"role": "user"}]', "[1]"])
    | st.sampled_from(["{{}}", '{{"a"}}', '["a", "b"]', "{'a': {1}}"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INSIDE), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def records_of_a_shape(draw: Any) -> list[dict[str, Any]]:
    """Records that have a known shape's columns and some others, with anything in them."""
    needs = {column(path, {}) for path in draw(st.sampled_from(SHAPES)).needs}
    others = draw(st.sets(st.sampled_from(COLUMNS), max_size=4)) - needs
    record = st.fixed_dictionaries(
        dict.fromkeys(sorted(needs), VALUES),
        optional=dict.fromkeys(sorted(others), VALUES),
    )
    return draw(st.lists(record, max_size=3))


PATHS = st.sampled_from(["prompt", "prompt.0", "chosen.*.content", "a.b", "responses.*", "score"])


@given(
    records_of_a_shape(),
    st.dictionaries(
        st.sampled_from(["prompt", "system", "margin", "weight", "subset", "votes", "source"]),
        PATHS,
        max_size=2,
    )
    | st.fixed_dictionaries({"answers": PATHS | st.lists(PATHS, max_size=2), "label": PATHS})
    | st.fixed_dictionaries({"answers": PATHS, "scores": PATHS | st.lists(PATHS, max_size=2)})
    | st.fixed_dictionaries({"chosen": PATHS, "rejected": PATHS}),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_record_is_pairs_rejects_or_one_error(
    records: list[dict[str, Any]], columns: dict[str, Any]
) -> None:
    rows = [(f"row {number}", entry) for number, entry in enumerate(records)]
    how = HowToRead(columns, frozenset({None, "a"}), pairs_per_prompt=2)
    look(rows, how)
    try:
        read = list(read_pairs(rows, "mine", "here", how))
    except DataError:
        return
    assert all(isinstance(row, Pair | Reject) for row in read)
