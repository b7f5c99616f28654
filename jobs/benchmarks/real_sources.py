"""The paper's five sources, as the benchmarks on real pairs read them below `data.root`."""

REAL_SOURCES = ["helpful", "harmless", "oasst1", "webgpt", "summarize"]
