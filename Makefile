# Needs Python 3.11 or newer, git, make and a Python package index.
PYTHON ?= python3
LOCK ?= requirements.lock
BIN := .venv/bin
# a file at a time and in order; three at once, for many a test waits for a server or a process
PYTEST = python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
BENCHMARKS = cold intake stock_keras flow retune decode changes engine train_step which_epoch scale dask_workers kills imbalance
COMPILE = uv pip compile --universal --python-version 3.11 --no-header --no-annotate --generate-hashes --extra cluster --extra flows --extra s3 --extra dev
# `dvc` and the stages that it starts must be those of .venv
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup repro test test-slow check fuzz orchestrate bench format lock clean

help:  ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/$(LOCK): $(LOCK)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer, found " + sys.version)'
	$(PYTHON) -m venv --clear .venv
	@echo 'installing what $(LOCK) names, which takes minutes'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --requirement $(LOCK)
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' .venv/lib  # pip would use one processor
	cp $(LOCK) .venv/$(LOCK)

setup: .venv/$(LOCK)  ## make .venv and install exactly what the lock says

repro: setup  ## run every stale stage and show the summary
	dvc repro
	@python -m pipeline summary

test: setup  ## run the tests but for the slow ones
	$(PYTEST) -m "not slow"

test-slow: setup  ## run every test
	$(PYTEST)

check: setup  ## lint, format, types, import rules
	ruff check .
	ruff format --check .
	mypy
	lint-imports

fuzz: setup  ## decode 20,000 mutated files
	python -m tests.fuzz

orchestrate: setup  ## a local Prefect server with the flows, to try them; Ctrl-C ends it
	@python -m pipeline orchestrate

bench: setup  ## measure and write docs/benchmarks.md (takes hours)
	for name in $(BENCHMARKS); do python -m benchmarks.$$name || exit 1; done

format: setup  ## put the code into its format
	ruff format .
	ruff check --fix .

lock:  ## write both locks anew (needs uv)
	$(COMPILE) --extra cpu --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra gpu --output-file requirements-gpu.lock pyproject.toml

clean:  ## remove .venv and every cache of the tools
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
