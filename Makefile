# Two commands: `make quickstart` and `make test`. Both make their own virtual environment.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
WORKDIR ?= runs/quickstart
BIN := $(VENV)/bin
# A process for each processor that may be used, which "auto" takes for all that there are. Tests
# that share what is compiled or trained run in one.
PARALLEL := -n $(shell nproc 2>/dev/null || echo auto) --maxprocesses=4 --dist loadgroup

.PHONY: help quickstart test test-long test-fast soak lint format results clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "jssl needs Python >= 3.11: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.run

quickstart: $(VENV)/.run ## pretrain SimCLR on the bundled images, evaluate, write a report
	$(BIN)/jssl quickstart --workdir $(WORKDIR)

test: $(VENV)/.test ## the test suite
	$(BIN)/python -m pytest $(PARALLEL) --durations=15 -m "not long"

test-long: $(VENV)/.test ## what it leaves out: every method on the whole ladder, every paper's recipe
	$(BIN)/python -m pytest $(PARALLEL) --durations=15 -m long

test-fast: $(VENV)/.test ## the suite without its slow part
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not long"

soak: $(VENV)/.test ## kill, fill, damage and starve runs: they must end in the bits of one left alone
	$(BIN)/python benchmarks/soak.py

lint: $(VENV)/.test ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: $(VENV)/.run ## the README's CIFAR-10 table: make results CIFAR10=cifar10_jpeg.npz
	$(BIN)/python benchmarks/cifar10.py --data $(CIFAR10)

clean: ## remove environments and caches, keep runs
	rm -rf .venv* .pytest_cache .ruff_cache build dist
