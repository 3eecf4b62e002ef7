# make quickstart   sets everything up and runs the tutorial on generated data
# make test         sets everything up and runs the tests
# PYTHON and PIP_ARGS choose the interpreter and what pip is told, such as another index.
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
PROTOS := $(wildcard protos/*.proto protos/*/*.proto)

.PHONY: install quickstart test check bench bench-input clean

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-dev.txt setup.py pyproject.toml $(PROTOS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q $(PIP_ARGS) -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/python -m tzrec.tools.tutorial demo --work_dir .quickstart

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	rm -rf .bench
	$(BIN)/python -m tzrec.tools.tutorial demo --work_dir .bench

bench-input: $(INSTALLED)
	$(BIN)/python benchmarks/input.py

clean:
	rm -rf .venv .quickstart .bench build *.egg-info tzrec/protos
