# `make` alone lists the targets. Each one sets up what it needs, and is quick the second time.
SHELL := bash
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules
unexport DATAFLOW_PROJECT

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PAGES := evidence/node_modules/.dataflow-installed
# Where the environment was created; its commands contain that path, and fail in another place.
MADE_AT := $(shell sed -n 's/^command = .* -m venv //p' $(VENV)/pyvenv.cfg 2>/dev/null)
MOVED := $(if $(MADE_AT),$(if $(findstring |$(MADE_AT)|,|$(CURDIR)/$(VENV)|),,moved))
# The tests look at the dashboard in chromium: the machine's, or one from the npm registry.
HAS_BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
BROWSER := .browser/bin/chromium
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# The Python for the environment; found if not given: make setup PYTHON=/path/to/python
PYTHON ?=
UV ?= uv
FITS := 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
HAS_NODE := 'from dataflow.dashboard.node import find_node; from dataflow.project import Project; \
	find_node(Project.find())'
BUILD_PAGES := 'from dataflow.dashboard.build import build_pages; from dataflow.project import Project; \
	print("built" if build_pages(Project.find(), on_line=print).built else "nothing changed")'
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-strip-extras --no-header

.DEFAULT_GOAL := help
.PHONY: help moved setup demo dashboard test lint format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED) $(PAGES) ## Make .venv and install the dashboard's packages

demo: ## Set up, run the workflow `earthquakes`, and say where to look
	@printf '\n[1/4] The Python environment\n'
	@$(MAKE) $(INSTALLED)
	@echo "ready: $(VENV), $$($(BIN)/python --version)"
	@printf "\n[2/4] The dashboard's packages\n"
	@$(MAKE) $(PAGES)
	@echo "ready: evidence/node_modules"
	@printf '\n[3/4] The workflow earthquakes: notebooks, models, checks, dashboard\n'
	@$(BIN)/dataflow workflow run earthquakes
	@printf '\n[4/4] The result\n'
	@$(BIN)/dataflow runs list earthquakes --limit 3
	@echo "Look at it (Ctrl-C ends each; with -d it runs in the background):"
	@echo "  $(BIN)/dataflow service start evidence   the dashboard: http://127.0.0.1:9000/earthquakes"
	@echo "  $(BIN)/dataflow service start dagster    runs, schedules, lineage: http://127.0.0.1:3000"
	@echo "  $(BIN)/dataflow service start jupyter    the notebooks, in JupyterLab"
	@echo "  $(BIN)/dataflow runs show last           this run and its executed notebooks"

dashboard: setup ## Build the dashboard's pages, if they changed
	@$(BIN)/python -c $(BUILD_PAGES)

test: setup $(if $(HAS_BROWSER),,$(BROWSER)) ## Run the tests; make test ARGS="-k words" runs a selection
	PATH="$(CURDIR)/.browser/bin:$$PATH" $(BIN)/python -m pytest -n auto --maxprocesses 4 $(ARGS)

lint: $(INSTALLED) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Choose the newest versions that pyproject.toml allows (needs uv)
	@command -v $(UV) >/dev/null || { \
		echo "error: there is no uv, which makes the locks" >&2; \
		echo "  → Install it: pip install uv; or name it: make lock UV=/path/to/uv" >&2; \
		exit 2; }
	$(COMPILE) --extra dev pyproject.toml --output-file requirements.lock
	sed -n 's/^node = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(COMPILE) - --output-file requirements-node.lock
	cd evidence && npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund

clean: ## Remove what can be recreated; the warehouse and the runs stay
	@[ ! -x $(BIN)/dataflow ] || $(BIN)/dataflow service stop all 2>/dev/null || true
	rm -rf $(VENV) .node .browser evidence/node_modules evidence/build evidence/.evidence dbt/target dbt/logs dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .dataflow
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# Exactly what requirements.lock says, each file checked against its hash; DATAFLOW itself is
# built with what the lock installed, so that nothing else comes from outside; the project's own
# packages follow, which cannot change those of the lock.
$(INSTALLED): requirements.lock pyproject.toml $(wildcard requirements-own.txt) | $(MOVED)
	@if ! $(BIN)/python -c $(FITS) 2>/dev/null; then \
		found=; \
		for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
			if "$$python" -c $(FITS) 2>/dev/null; then found=$$python; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "error: there is no Python 3.11, 3.12 or 3.13 with its venv module" >&2; \
			echo "  → Install one (on Debian: sudo apt-get install python3 python3-venv)," \
				"or name it: make setup PYTHON=/path/to/python" >&2; \
			exit 2; \
		fi; \
		echo "making $(VENV) with $$("$$found" -c 'import sys; print(sys.executable)')"; \
		rm -rf $(VENV) && "$$found" -m venv $(VENV); \
	fi
	@echo "installing the $$(grep -c '==' requirements.lock) packages of requirements.lock" \
		"(a minute or two the first time)"
	@$(PIP) install --require-hashes --no-deps --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m dataflow.doctor.own_packages
	@touch $@

moved:
	@echo "this folder was $(MADE_AT) before it was moved: setting $(VENV) right"
	@$(BIN)/python -m dataflow.base.moved "$(MADE_AT)" "$(CURDIR)/$(VENV)"

# Node comes from the machine, and from PyPI where it has none that is new enough.
$(PAGES): $(INSTALLED) evidence/package.json evidence/package-lock.json
	@if ! $(BIN)/python -c $(HAS_NODE) 2>/dev/null; then \
		echo "installing Node from PyPI: this machine has none that is new enough"; \
		$(PIP) install --require-hashes --no-deps --requirement requirements-node.lock; \
	fi
	@echo "installing the packages of evidence/package-lock.json"
	@$(BIN)/python -m dataflow.dashboard.install
	@touch $@

# Without it the tests that need it are skipped, which their last line says; in CI they fail.
$(BROWSER): tests/helpers/chromium/package-lock.json | $(INSTALLED) $(PAGES)
	@echo "installing a chromium for the tests: this machine has none"
	-@$(BIN)/python tests/helpers/chromium/install.py .browser
