# Every target sets up what it needs: a virtual environment in .venv with the pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo test check tables clean

# The main job on the embedded corpus, then both tables.
demo: $(VENV)/.ready
	$(BIN)/bench run --all-categories
	$(BIN)/bench table --dataset lazada
	$(BIN)/bench table --dataset amazon

# Style, types and the whole test suite.
test: check
	$(BIN)/python -m pytest -n $(JOBS)

# Style and types.
check: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Remake the tables under results/tables (runs what is missing first).
tables: $(VENV)/.ready
	$(BIN)/bench run --all-categories
	$(BIN)/bench ablate --drop all > /dev/null
	sh results/make_tables.sh $(BIN)/bench

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml setup.py constraints.txt benchmark/kernels/_kernels.cpp | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
