# Each target needs no more than Python 3.11 with pip: what it uses is installed into .venv first, once.

PYTHON ?= python3.11
BIN := .venv/bin
# Changes with everything that decides what is installed, so that a second run has nothing to do.
STAMP := .venv/installed-$(shell cat constraints.txt pyproject.toml | cksum | tr ' ' -)
LOCKED := --all-extras --group pyproject.toml:demo --group pyproject.toml:test --group pyproject.toml:docs

.DEFAULT_GOAL := help
.PHONY: help demo up down status test test-long check format docs ui ui-check lock install clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 | /p' Makefile | column -t -s '|'

demo: $(STAMP) ## run the whole line on real flights, about ten minutes
	$(BIN)/python -m demo run

up: $(STAMP) ## start the demo's parts and leave them running
	$(BIN)/python -m demo up

down: $(STAMP) ## stop them
	$(BIN)/python -m demo down

status: $(STAMP) ## say what runs
	$(BIN)/python -m demo status

test: check ## every test and check, as the continuous integration runs them
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-long: $(STAMP) ## the tests that take more than a few minutes
	$(BIN)/pytest -m long

check: $(STAMP) ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## write the format that check asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## build the documentation, warnings are errors
	$(BIN)/mkdocs build --strict

ui: ## build the pages' bundle from airflow_ml/plugin/www; needs Node 20, and is committed so that nobody else does
	cd airflow_ml/plugin/www && npm ci --ignore-scripts && npm run build && npm run fixtures

ui-check: ## types, lint and tests of the pages; needs Node 20
	cd airflow_ml/plugin/www && npm ci --ignore-scripts && npm run check

install: $(STAMP) ## only make .venv

lock: $(BIN)/uv ## renew constraints.txt from pyproject.toml and requirements.in; UPGRADE=1 takes newer versions
	$(BIN)/uv pip compile pyproject.toml requirements.in $(LOCKED) --python-version 3.11 --generate-hashes --quiet \
		--no-header --no-annotate --no-emit-index-url --no-emit-package airflow-ml $(if $(UPGRADE),--upgrade) \
		--output-file constraints.txt

clean: ## remove what the targets above made, except .venv
	if [ -x $(BIN)/python ]; then $(BIN)/python -m demo down; fi
	rm -rf .demo dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# uv is installed by pip, then all the rest by uv: both by the hashes of constraints.txt.
$(BIN)/uv:
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here. Install Python 3.11, or name one: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	awk '/^[a-z]/ { mine = /^uv==/ } mine' constraints.txt > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r .venv/uv.txt

# Airflow starts a process per task; without byte code each pays seconds of imports, so it is made here whatever the
# caller's PYTHONDONTWRITEBYTECODE says. Without build isolation nothing comes from outside the lock.
$(STAMP): | $(BIN)/uv
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode \
		--require-hashes -r constraints.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	rm -f .venv/installed-*
	touch $@
