"""The shapes in which preference data is published: raw records -> pairs."""

from more_ray.data.shapes.known import PROMPTS, prompt_of
from more_ray.data.shapes.mapping import AS_KNOWN, HowToRead
from more_ray.data.shapes.paths import Paths, Record
from more_ray.data.shapes.reader import Row, Seen, look, read_pairs, source_value

__all__ = [
    "AS_KNOWN",
    "PROMPTS",
    "HowToRead",
    "Paths",
    "Record",
    "Row",
    "Seen",
    "look",
    "prompt_of",
    "read_pairs",
    "source_value",
]
