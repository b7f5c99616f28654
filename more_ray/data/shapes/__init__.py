"""The shapes in which preference data is published: raw records -> pairs."""

from more_ray.data.shapes.known import PROMPTS, prompt_of
from more_ray.data.shapes.mapping import AS_KNOWN, MAY_LACK, HowToRead
from more_ray.data.shapes.paths import Paths, Record, each_path, has
from more_ray.data.shapes.reader import (
    Row,
    Seen,
    look,
    no_record_has,
    read_files,
    read_pairs,
    source_value,
)

__all__ = [
    "AS_KNOWN",
    "MAY_LACK",
    "PROMPTS",
    "HowToRead",
    "Paths",
    "Record",
    "Row",
    "Seen",
    "each_path",
    "has",
    "look",
    "no_record_has",
    "prompt_of",
    "read_files",
    "read_pairs",
    "source_value",
]
