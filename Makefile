# `make` alone explains the targets. Each one sets itself up: it needs Python >= 3.11 and make, nothing else.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
# Each target installs what it needs when that is missing, and removes nothing that another needs.
# What is installed: the application with the sandbox's parts; the same with tests and checks.
TO_RUN := $(VENV)/.run
TO_DEV := $(VENV)/.dev
# The machine's certificates, as pip does it: a company's proxy has one that only they know.
UV     := $(VENV)/bin/uv --system-certs
# Every process here, and every run of a workflow, imports our modules again: they are compiled once.
export PYTHONDONTWRITEBYTECODE :=

LOCK   := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock'

help: ## Explain the targets
	@echo "Durable Orders"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(TO_RUN) ## See the promise kept: killed workers, a cancellation, a declined card, orders that wait
	@$(RUN) -m demo

sandbox: $(TO_RUN) ## Run Temporal, PostgreSQL and stand-ins for Stripe, Resend and the warehouse here
	@$(RUN) -m sandbox

worker: $(TO_RUN) ## Run one worker (needs `make sandbox` in another terminal, or your own .env)
	@$(RUN) worker.py

api: $(TO_RUN) ## Run the HTTP API; http://localhost:8080/docs lists what it does
	@$(RUN) api.py

check: $(TO_DEV) ## Formatting, lint, types, dependency directions: what CI checks
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@PYTHONPATH=. $(VENV)/bin/lint-imports

test: $(TO_DEV) ## All tests that need no Docker, on real Temporal and PostgreSQL servers
	@$(RUN) -m pytest -n 4 --dist loadfile --ignore tests/containers/running

test-containers: $(TO_DEV) ## The image and docker-compose.yml in containers, where there is an engine or Debian's can be installed
	@$(RUN) -m tests.containers

test-stripe: $(TO_DEV) ## The payment suites against Stripe's test mode: STRIPE_TEST_KEY=sk_test_… make test-stripe
	@$(RUN) -m tests.contracts.at_stripe

bench: $(TO_DEV) ## Measure an order beside other ways to process one, recovery after a kill, the HTTP API
	@$(RUN) -m bench

chaos: $(TO_RUN) ## All kinds of orders under a seeded schedule of faults, then the books: ORDERS=500 SEED=7 CAPTURE=at_fulfillment
	@$(RUN) -m chaos $(if $(ORDERS),--orders $(ORDERS)) $(if $(SEED),--seed $(SEED)) $(if $(CAPTURE),--capture $(CAPTURE))

sbom: $(TO_DEV) ## Write dist/sbom.json: the application's packages with their hashes, as CycloneDX
	@mkdir -p dist
	@$(RUN) -W ignore::UserWarning -m cyclonedx_py requirements requirements/app.txt --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.json
	@echo dist/sbom.json

advisories: $(TO_DEV) ## Look the application's packages up among the known advisories, where these are reachable
	@$(RUN) .ci/advisories.py

lock: $(VENV)/.uv ## Lock the requirements again after changing pyproject.toml or requirements/app.in
	@$(LOCK) pyproject.toml --all-extras -c requirements/app.in --group dev -o requirements/dev.txt
	@cp requirements/dev.txt requirements/run.txt # a lock keeps the versions that it had, if it can
	@cp requirements/dev.txt requirements/app.txt
	@$(LOCK) pyproject.toml --all-extras -c requirements/app.in --group sandbox -o requirements/run.txt
	@$(LOCK) pyproject.toml --all-extras -c requirements/app.in -o requirements/app.txt
	@echo 'uv==0.13.9' | $(LOCK) - -o requirements/uv.txt

clean: ## Remove the virtual environment and the sandbox's state
	rm -rf $(VENV) .sandbox

$(VENV)/.uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=python3.12, say."; exit 1; }
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(TO_RUN): requirements/run.txt $(VENV)/.uv
	@$(UV) pip install --quiet --compile-bytecode --python $(VENV) --require-hashes -r requirements/run.txt
	@touch $@

$(TO_DEV): requirements/dev.txt $(VENV)/.uv
	@echo "Adding what tests and checks need (once) ..."
	@$(UV) pip sync --quiet --compile-bytecode --python $(VENV) --require-hashes requirements/dev.txt requirements/uv.txt
	@touch $(TO_RUN) $@

.PHONY: help demo sandbox worker api check test test-containers test-stripe bench chaos sbom \
	advisories lock clean
