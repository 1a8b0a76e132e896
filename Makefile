# `make repro` and `make test` work on a fresh clone: they set everything up first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The stages of dvc.yaml call `python`: the environment's own.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Make .venv with the pinned dependencies and graft itself

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.PHONY: repro
repro: install ## Run the pipeline: whatever changed, from the data to the answer
	dvc repro
	graft record

.PHONY: test
test: lint ## Check style and types, then run the tests
	python -m pytest -n auto --dist loadfile

.PHONY: lint
lint: install ## Check style (ruff) and types (mypy)
	ruff check .
	ruff format --check .
	mypy

# The others run by name: `memory` and `article` would take longer than this quarter of an hour, and
# `prepare` and `article` need GRAFT_BENCHMARK_IMAGES.
BENCHMARKS := cells probe training startup noop predict transferability

.PHONY: bench
bench: install ## Measure graft beside what one would write instead (a quarter of an hour)
	set -e; for name in $(BENCHMARKS); do python -m benchmarks.$$name; done

.PHONY: lock
lock: install ## Pin the dependencies anew, from the ranges in pyproject.toml
	python -m pip install --quiet uv
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--no-emit-index-url --no-header --quiet --upgrade --output-file requirements.lock

.PHONY: clean
clean: ## Remove the environment and caches; data, models and records stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
