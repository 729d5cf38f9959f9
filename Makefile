# `make` alone lists the targets. Programs are started through Python, because the first line of an installed script
# names its interpreter by path, which fails where the path is long or has a space.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The optional packages to install: SERVER=granian, of make or of the environment, needs one.
EXTRAS := $(filter granian,$(SERVER))
TYPESCRIPT := clients/typescript

.DEFAULT_GOAL := help
.PHONY: help run serve migrate psql quick check test fix lint bench lock clean run-environment dev-environment

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

run: run-environment  ## Serve on http://localhost:3000 with an embedded PostgreSQL; Ctrl-C stops both
	@SCRAPE_JOBS_AUTH=$${SCRAPE_JOBS_AUTH:-off} SCRAPE_JOBS_MIGRATE=$${SCRAPE_JOBS_MIGRATE:-on} \
		exec $(BIN)/python $(BIN)/gunicorn wsgi:app

serve: run-environment  ## Serve with the settings of the environment (flask settings lists them; SERVER=granian)
	@exec $(BIN)/python $(BIN)/gunicorn wsgi:app

migrate: run-environment  ## Bring the database schema up to date
	@$(BIN)/python -m flask --app wsgi db upgrade

psql: run-environment  ## Open psql on the database (embedded, or DATABASE_URL)
	@$(BIN)/python -m flask --app wsgi sql shell

quick: dev-environment  ## Run the tests that need no process or database of their own (under a minute)
	@$(BIN)/python -m pytest -m quick -n 2 $(ARGS)

check: lint quick  ## Run lint and quick, before each commit

test: dev-environment  ## Run all tests, on an embedded PostgreSQL or on TEST_DATABASE_URL
	@$(BIN)/python -m pytest $(ARGS)

fix: dev-environment  ## Format the code and fix lint findings that can be fixed automatically
	@$(BIN)/python -m ruff format .
	@$(BIN)/python -m ruff check --fix .

lint: dev-environment  ## Check style (ruff), types (mypy), import layers (import-linter), safety (bandit), links and the TypeScript client
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/python $(BIN)/lint-imports --config setup.cfg --no-logo
	@$(BIN)/python -m bandit --quiet --recursive --configfile pyproject.toml app bench clients/python/src migrations requirements wsgi.py gunicorn.conf.py
	@$(BIN)/python -m support.document_links
	@if [ -d $(TYPESCRIPT)/node_modules ]; then npm --prefix $(TYPESCRIPT) run --silent lint; \
		else echo "The TypeScript client is not checked: npm --prefix $(TYPESCRIPT) ci installs its tools"; fi

bench: dev-environment  ## Run the benchmarks (ratios of paired rounds; ARGS=--quick for a first look)
	@$(BIN)/python -m bench.webhooks $(ARGS)
	@$(BIN)/python -m bench.queue $(ARGS)
	@$(BIN)/python -m bench.statistics $(ARGS)
	@$(BIN)/python -m bench.security $(ARGS)
	@$(BIN)/python -m bench.requests $(ARGS)
	@$(BIN)/python -m bench.streams $(ARGS)
	@$(BIN)/python -m bench.monitor $(ARGS)

lock:  ## Update the locked dependencies from setup.cfg (needs uv)
	uv pip compile setup.cfg --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
		--no-header --quiet -o requirements/run.txt
	uv pip compile setup.cfg --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --quiet -c requirements/run.txt -o requirements/dev.txt
	uv pip compile setup.cfg --extra granian --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --quiet -c requirements/run.txt -o requirements/granian.txt

clean:  ## Remove the environment and the caches; the data in var/ is kept
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

run-environment:
	@"$(PYTHON)" requirements/install.py run $(EXTRAS)

dev-environment:
	@"$(PYTHON)" requirements/install.py dev $(EXTRAS)
