# Two commands for a fresh machine: `make demo` shows the whole job on sample data, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test soak lint quality bench clean
.DELETE_ON_ERROR:

demo: .venv/runtime
	$(BIN)/recbatch demo demo

test: .venv/test lint
	$(BIN)/python -m pytest

# What is tried at random, more often than on a commit, and the table of docs/reliability.md.
soak: .venv/test
	$(BIN)/python -m pytest tests -m promise --soak --promises docs/reliability.md

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# This project's models beside their peers on real ratings; DATA=sample for made-up ones.
quality: .venv/bench
	$(BIN)/python benchmarks/quality.py $(if $(DATA),--data $(DATA))

# What a night of a million ratings costs here, and whether models are exact at that size; docs/scaling.md has more.
bench: .venv/bench
	$(BIN)/python benchmarks/scale.py --shapes 1m --no-peers --again
	$(BIN)/python benchmarks/exact.py

# A stamp file per set of packages: installing again happens only when the pins or the packaging change.
.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/runtime: .venv/python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	touch $@

.venv/test: .venv/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[postgres,test]'
	touch $@ .venv/runtime

.venv/bench: .venv/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[bench]'
	touch $@ .venv/runtime

clean:
	rm -rf .venv demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
