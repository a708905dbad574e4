# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Several processes share the suite (tests/distribution.py); one is enough for files that are named.
PROCESSES ?= $(if $(findstring .py,$(ARGS)),0,auto)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types imports bench docs clean

help:
	@echo "make demo [ARGS=...]   set up .venv and run: streamlog demo ARGS"
	@echo "make test [ARGS=...]   set up .venv and run the whole test suite, or what ARGS name"
	@echo "make check             ruff, mypy --strict, import contracts, documentation, tests"
	@echo "make bench             the benchmarks, as ratios against their peers"
	@echo "make docs              build the documentation site"

# The stamp depends on what is compiled, so an edited module is compiled again.
COMPILED := $(shell sed -n 's/^    "\(streamlog\/.*\.py\)",$$/\1/p' setup.py)

$(VENV)/.ready: pyproject.toml setup.py $(COMPILED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "streamlog needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) has no venv module. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: $(VENV)/.ready

demo: setup
	$(BIN)/streamlog demo $(ARGS)

test: setup
	$(BIN)/python -m pytest -n $(PROCESSES) $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy
	$(BIN)/basedpyright

imports: setup
	$(BIN)/lint-imports

check: lint types imports docs test

bench: setup
	$(BIN)/python tests/benchmarks $(ARGS)

docs: setup
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site *.egg-info
	find streamlog -name '*.so' -delete
