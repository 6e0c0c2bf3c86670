# Two commands for a fresh machine: `make demo` shows the whole job on sample data, `make test` checks everything.
# `make quick` is for the loop while coding: no Postgres, no kills, under a minute.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --no-loadscope-reorder
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Where the environment forbids bytecode, each process that a test starts would compile the program again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test tests quick soak lint quality bench reference lock build clean
.DELETE_ON_ERROR:

demo: .venv/runtime
	$(BIN)/recbatch demo demo

# While one core checks the code, the other compiles the loops that most tests need; then both test.
test: .venv/test
	$(MAKE) --no-print-directory --jobs=2 lint tests

tests: .venv/test
	$(PYTEST)

quick: .venv/test
	$(BIN)/ruff check .
	$(PYTEST) --quick

# What is tried at random, more often than on a commit, and the table of docs/reliability.md.
soak: .venv/test
	$(PYTEST) -m "promise or soak" --soak --promises=docs/reliability.md

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

# Commands, settings and tables as the program has them, for docs/reference.md.
reference: .venv/runtime
	$(BIN)/python docs/reference.py

# The image's packages by hash, in the versions of constraints.txt. Torch and what is only for its CUDA build are left
# out: the image takes torch by version, from the index that its builder names.
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit triton $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc \
	cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--constraint constraints.txt
lock: .venv/test
	$(INSTALL) uv
	$(BIN)/$(LOCK) --extra postgres $(addprefix --no-emit-package ,torch $(CUDA)) --output-file locks/image.txt pyproject.toml
	echo hatchling | $(BIN)/$(LOCK) --output-file locks/build.txt -

# The wheel and the sdist of a release, in dist/, without a network; tests/test_package.py holds what must be in them.
build: .venv/test
	$(BIN)/python -m hatchling build --clean

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
