# `make` alone lists the targets. Each one sets up what it needs, and is quick the second time.
# Every DATAFLOW project has this file; what a project adds to it stands in development.mk.
SHELL := bash
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules
unexport DATAFLOW_PROJECT

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PAGES := evidence/node_modules/.dataflow-installed
LOCKS := requirements.lock
# The version of DATAFLOW that pyproject.toml asks for; wheels/ is for one that no index has.
DATAFLOW = $(if $(wildcard wheels/*.whl),--find-links wheels) \
	"$(shell sed -n 's/^ *"\(dataflow-notebooks[^"]*\)",\{0,1\}$$/\1/p' pyproject.toml)"
# Where the environment was created; its commands contain that path, and fail in another place.
MADE_AT := $(shell sed -n 's/^command = .* -m venv //p' $(VENV)/pyvenv.cfg 2>/dev/null)
MOVED := $(if $(MADE_AT),$(if $(findstring |$(MADE_AT)|,|$(CURDIR)/$(VENV)|),,moved))
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# The Python for the environment; found if not given: make setup PYTHON=/path/to/python
PYTHON ?=
FITS := 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
BUILD_PAGES := 'from dataflow.dashboard.build import build_pages; from dataflow.project import Project; \
	print("built" if build_pages(Project.find(), on_line=print).built else "nothing changed")'

.DEFAULT_GOAL := help
.PHONY: help moved setup dashboard test lint format clean
-include development.mk

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) $(PAGES) ## Make .venv and install the dashboard's packages

dashboard: setup ## Build the dashboard's pages, if they changed
	@$(BIN)/python -c $(BUILD_PAGES)

test: setup ## Run the tests; make test ARGS="-k words" runs a selection
	$(BIN)/python -m pytest $(PYTEST) $(ARGS)

lint: $(INSTALLED) ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what can be recreated; the warehouse and the runs stay
	@[ ! -x $(BIN)/dataflow ] || $(BIN)/dataflow service stop all 2>/dev/null || true
	rm -rf $(VENV) .node .browser evidence/node_modules evidence/build evidence/.evidence dbt/target dbt/logs dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .dataflow
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# Exactly what the locks say, each file checked against its hash; then DATAFLOW itself; the
# project's own packages follow, which cannot change those of the lock.
$(INSTALLED): $(LOCKS) pyproject.toml $(wildcard requirements-own.txt) | $(MOVED)
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
	@echo "installing the $$(cat $(LOCKS) | grep -c '==') packages of $(LOCKS)" \
		"(a minute or two the first time)"
	@$(PIP) install --require-hashes --no-deps $(LOCKS:%=--requirement %)
	@$(PIP) install --no-deps $(DATAFLOW)
	@$(BIN)/python -m dataflow.doctor.own_packages
	@touch $@

moved:
	@echo "this folder was $(MADE_AT) before it was moved: setting $(VENV) right"
	@$(BIN)/python -m dataflow.base.moved "$(MADE_AT)" "$(CURDIR)/$(VENV)"

# Node comes from the machine, and from PyPI where it has none that is new enough.
$(PAGES): $(INSTALLED) $(wildcard evidence/package*.json)
	@$(BIN)/dataflow setup
	@touch $@
