"""Scores by OpenRLHF's client of a remote reward model, from our reward service."""

from __future__ import annotations

import asyncio

from exchange import answer, question
from openrlhf.utils.agent import SingleTurnAgentExecutor

asked = question()
client = SingleTurnAgentExecutor(f"{asked['url']}/get_reward")
texts, prompts = asked["texts"], asked["prompts"]
# It asks for one text at a time while it samples.
found = [
    asyncio.run(client._fetch_rewards_via_http([text], [prompt], [""]))[0]["rewards"][0]
    for text, prompt in zip(texts, prompts, strict=True)
]
answer("openrlhf", get_reward=found)
