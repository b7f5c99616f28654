"""Scores by a pipeline of transformers, several texts at a time."""

from __future__ import annotations

from exchange import answer, question
from transformers import pipeline

asked = question()
pipe = pipeline("text-classification", model=asked["model"], dtype="float32", device="cpu")
found = pipe(asked["texts"], function_to_apply="none", truncation=True, batch_size=4)
answer("transformers", pipeline=[one["score"] for one in found])
