# `make lab` and `make test` set up their environments in this folder; `make` without a target lists all targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh

# The newest Python on PATH, 3.11 or later; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
INSTALLED := $(VENV)/.installed
WORKERS ?= auto
# Options of `jupyter lab`, for `make lab`.
LAB_ARGS ?=
PARTS := lint types imports unit server kernel notebooks browser

.PHONY: help python lab test lint types imports unit server kernel browser notebooks binder floors bench screenshots chromium redis clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

python:
	@test -n "$(PYTHON)" || { echo "claude_magic needs Python 3.11 or newer, with venv; none was found on PATH. Name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }

# Modules are compiled on first import, because most installed modules are never imported. An editable install contains no data files, so
# the front-end extension is copied to the folder in which Jupyter searches for extensions.
$(INSTALLED): pyproject.toml claude_magic/_version.py | python
	@echo "Setting up $(VENV) with $(PYTHON): pip takes a minute or two, without output ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable . --group dev
	@$(BIN)/python tests/browser/copy_labextension.py
	@touch $@

# The extension may have changed since the setup.
lab: $(INSTALLED) ## open JupyterLab with the first notebook (LAB_ARGS="--port 8899 --no-browser"), on the simulator if no key is set
	@$(BIN)/python tests/browser/copy_labextension.py
	@test -n "$$ANTHROPIC_API_KEY$$ANTHROPIC_AUTH_TOKEN$$ANTHROPIC_BASE_URL" || echo "No API key is set in this shell: unless one is configured elsewhere, the simulator answers, and the footer of each answer says so."
	@CLAUDE_MAGIC_DEMO=$${CLAUDE_MAGIC_DEMO:-auto} $(BIN)/jupyter lab $$(test "$$(id -u)" -ne 0 || echo --allow-root) --ServerApp.root_dir=notebooks --LabApp.default_url=/lab/tree/01-first-steps.ipynb $(LAB_ARGS)

test: python ## set up, run every part below up to `browser`, and print the duration of each
	@PYTHON="$(PYTHON)" $(PYTHON) tests/run_all.py $(PARTS)

lint: $(INSTALLED) ## run ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## run mypy --strict, also on the public names
	$(BIN)/mypy
	$(BIN)/mypy tests/typing

imports: $(INSTALLED) ## check the direction of imports
	$(BIN)/lint-imports --no-cache

unit: $(INSTALLED) ## test without sockets or kernels
	$(PYTEST) tests/unit -n $(WORKERS)

server: $(INSTALLED) redis ## test client, simulator and runtime over loopback sockets
	$(PYTEST) tests/server tests/simulator tests/runtime -n $(WORKERS)

kernel: $(INSTALLED) ## test in real kernels and a real terminal
	$(PYTEST) tests/kernel -n $(WORKERS) --dist loadfile

notebooks: $(INSTALLED) redis ## run every notebook twice
	$(BIN)/python tests/notebooks/run.py

chromium: ## install Chromium from the system packages, if it is missing and permitted
	@sh tests/browser/install_chromium.sh

redis: ## install a Redis server from the system packages, if it is missing and permitted
	@sh tests/install_redis.sh

browser: $(INSTALLED) chromium ## test JupyterLab in headless Chromium
	$(PYTEST) tests/browser -n $(WORKERS) --dist worksteal

binder: $(INSTALLED) ## run the first notebook in a fresh environment from binder/ alone
	$(BIN)/python tests/binder_check.py

floors: $(INSTALLED) ## test the use of other packages, with their oldest supported versions
	$(BIN)/python tests/floors.py

bench: $(INSTALLED) chromium redis ## run the benchmarks, with other libraries in an environment of their own
	$(BIN)/python tests/bench/run.py

screenshots: $(INSTALLED) chromium ## regenerate the images of the README
	$(BIN)/python docs/images/make.py

clean: ## remove the files that these targets create
	rm -rf .venv .bench-venv .bench-peers .peers .floors-venv .binder-check .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
