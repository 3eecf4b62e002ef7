# make quickstart   sets everything up and runs the tutorial on generated data
# make test         sets everything up and runs the tests
# PYTHON and PIP_ARGS choose the interpreter and what pip is told, such as another index.
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
PROTOS := $(wildcard protos/*.proto protos/*/*.proto)

.PHONY: install quickstart test check clean \
  bench bench-large bench-sampler bench-negatives bench-search bench-predict bench-saving bench-train bench-input \
  bench-sharding

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-dev.txt setup.py pyproject.toml $(PROTOS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q $(PIP_ARGS) -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/python -m tzrec.tools.tutorial demo --work_dir .quickstart

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal

check: $(INSTALLED)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	rm -rf .bench
	$(BIN)/python -m tzrec.tools.tutorial demo --work_dir .bench

bench-sampler: $(INSTALLED)
	$(BIN)/python benchmarks/sampler.py --work_dir .bench/sampler

# Hours: every way to choose negatives, trained.
bench-negatives: $(INSTALLED)
	for table in samplers exclusion in_batch; do \
	  $(BIN)/python benchmarks/negatives.py demo --work_dir .bench/negatives --table $$table || exit; done

# Needs 30 GB of disk and a quarter of an hour.
bench-large: $(INSTALLED)
	$(BIN)/python -m benchmarks.pool --work_dir .bench-pool

bench-search: $(INSTALLED)
	$(BIN)/python benchmarks/search.py

bench-predict: $(INSTALLED)
	$(BIN)/python benchmarks/predict.py

bench-saving: $(INSTALLED)
	$(BIN)/python -m benchmarks.saving

bench-train: $(INSTALLED)
	$(BIN)/python benchmarks/training.py --work_dir .bench-train

bench-input: $(INSTALLED)
	$(BIN)/python benchmarks/input.py

bench-sharding: $(INSTALLED)
	$(BIN)/python benchmarks/sharding.py --work_dir .bench-sharding

clean:
	rm -rf .venv .quickstart .bench .bench-pool .bench-predict .bench-train .bench-sharding build *.egg-info tzrec/protos
