# `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run serve migrate test bench lint lock clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

run: $(VENV)/run  ## Serve on http://localhost:3000 with everything it needs; Ctrl-C stops it all
	@SCRAPE_JOBS_AUTH=$${SCRAPE_JOBS_AUTH:-off} SCRAPE_JOBS_MIGRATE=$${SCRAPE_JOBS_MIGRATE:-on} \
		exec $(BIN)/gunicorn wsgi:app

serve: $(VENV)/run  ## Serve with the settings of the environment (flask settings lists them)
	@exec $(BIN)/gunicorn wsgi:app

migrate: $(VENV)/run  ## Bring the database schema up to date
	@$(BIN)/flask --app wsgi db upgrade

test: $(VENV)/dev  ## Run all tests, on an embedded PostgreSQL or on TEST_DATABASE_URL
	@$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/dev  ## Measure (figures as ratios of paired rounds; ARGS=--quick for a first look)
	@$(BIN)/python -m bench.webhooks $(ARGS)
	@$(BIN)/python -m bench.queue $(ARGS)
	@$(BIN)/python -m bench.statistics $(ARGS)
	@$(BIN)/python -m bench.doors $(ARGS)

lint: $(VENV)/dev  ## Check style (ruff), types (mypy), the direction of imports (import-linter) and safety (bandit)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config setup.cfg --no-logo
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml app bench migrations wsgi.py gunicorn.conf.py

lock:  ## Write the locked dependencies anew from setup.cfg (needs uv)
	uv pip compile setup.cfg --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
		--no-header --quiet -o requirements/run.txt
	uv pip compile setup.cfg --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --quiet -c requirements/run.txt -o requirements/dev.txt

clean:  ## Remove what was installed and cached; the data in var/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run: requirements/run.txt | $(VENV)/bin/python
	@echo "Installing what the service needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/run
	@echo "Installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
