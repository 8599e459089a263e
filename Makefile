# One front door. `make lab` and `make test` set up all they need, in this folder; a bare `make` lists the rest.

.DEFAULT_GOAL := help
SHELL := /bin/sh

# The newest interpreter that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
INSTALLED := $(VENV)/.installed
WORKERS ?= auto
# More options of `jupyter lab`, for `make lab`.
LAB_ARGS ?=
PARTS := lint types imports unit server kernel notebooks browser

.PHONY: help python lab test lint types imports unit server kernel browser notebooks binder floors bench screenshots chromium redis clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

python:
	@test -n "$(PYTHON)" || { echo "claude_magic needs Python 3.11 or newer, with venv; none was found on PATH. Name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }

# Modules are compiled when they are first imported: most of what is installed never is. An editable install brings no data, so the
# front-end extension is copied to where Jupyter looks for it.
$(INSTALLED): pyproject.toml claude_magic/_version.py | python
	@echo "Setting up $(VENV) with $(PYTHON): pip takes a minute or two, and says nothing meanwhile ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable . --group dev
	@$(BIN)/python tests/browser/copy_labextension.py
	@touch $@

lab: $(INSTALLED) ## JupyterLab with the first notebook (LAB_ARGS="--port 8899 --no-browser"); without a key on the simulator, saying so
	@$(BIN)/python tests/browser/copy_labextension.py  # it may have changed since
	@test -n "$$ANTHROPIC_API_KEY$$ANTHROPIC_AUTH_TOKEN$$ANTHROPIC_BASE_URL" || echo "No API key is set in this shell: unless one is configured elsewhere, cells are answered by the simulator, and say so."
	@CLAUDE_MAGIC_DEMO=$${CLAUDE_MAGIC_DEMO:-auto} $(BIN)/jupyter lab $$(test "$$(id -u)" -ne 0 || echo --allow-root) --ServerApp.root_dir=notebooks --LabApp.default_url=/lab/tree/01-first-steps.ipynb $(LAB_ARGS)

test: python ## set up, run every part below up to `browser`, and say how long each took
	@PYTHON="$(PYTHON)" $(PYTHON) tests/run_all.py $(PARTS)

lint: $(INSTALLED) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## mypy --strict, and what the public names promise
	$(BIN)/mypy
	$(BIN)/mypy tests/typing

imports: $(INSTALLED) ## the direction of imports
	$(BIN)/lint-imports --no-cache

unit: $(INSTALLED) ## no sockets, no kernel
	$(PYTEST) tests/unit -n $(WORKERS)

server: $(INSTALLED) redis ## client, simulator and runtime over loopback sockets
	$(PYTEST) tests/server tests/simulator tests/runtime -n $(WORKERS)

kernel: $(INSTALLED) ## real kernels and a real terminal
	$(PYTEST) tests/kernel -n $(WORKERS) --dist loadfile

notebooks: $(INSTALLED) redis ## every notebook, top to bottom, twice
	$(BIN)/python tests/notebooks/run.py

chromium: ## Chromium from the packages of the system, where it is missing and allowed
	@sh tests/browser/install_chromium.sh

redis: ## a Redis server from the packages of the system, where it is missing and allowed
	@sh tests/install_redis.sh

browser: $(INSTALLED) chromium ## JupyterLab in headless Chromium
	$(PYTEST) tests/browser -n $(WORKERS) --dist worksteal

binder: $(INSTALLED) ## a fresh environment from binder/ alone runs the first notebook
	$(BIN)/python tests/binder_check.py

floors: $(INSTALLED) ## the tests that meet other packages, on the oldest versions that are promised
	$(BIN)/python tests/floors.py

bench: $(INSTALLED) chromium redis ## figures beside the peers', in an environment of their own
	$(BIN)/python tests/bench/run.py

screenshots: $(INSTALLED) chromium ## make the pictures of the README again
	$(BIN)/python docs/images/make.py

clean: ## remove what the targets above made
	rm -rf .venv .bench-venv .bench-peers .peers .floors-venv .binder-check .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
