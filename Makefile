# `make` alone explains the targets. Each one sets itself up: it needs Python >= 3.11 and make, nothing else.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.ready
# The machine's certificates, as pip does it: a company's proxy has one that only they know.
UV     := $(VENV)/bin/uv --system-certs
# Every process here, and every run of a workflow, imports our modules again: they are compiled once.
export PYTHONDONTWRITEBYTECODE :=

help: ## Explain the targets
	@echo "Durable Orders"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## See the promise kept: killed workers, a cancellation, a declined card, orders that wait
	@$(RUN) -m demo

sandbox: $(READY) ## Run Temporal, PostgreSQL and stand-ins for Stripe, Resend and the warehouse here
	@$(RUN) -m sandbox

worker: $(READY) ## Run one worker (needs `make sandbox` in another terminal, or your own .env)
	@$(RUN) worker.py

api: $(READY) ## Run the HTTP edge; http://localhost:8080/docs lists what it does
	@$(RUN) api.py

check: $(READY) ## Formatting, lint, types, dependency directions: what CI checks
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@PYTHONPATH=. $(VENV)/bin/lint-imports

test: $(READY) ## All tests that need no Docker, on real Temporal and PostgreSQL servers
	@$(RUN) -m pytest -n 4 --dist loadfile

test-stripe: $(READY) ## The payment suites against Stripe's test mode: STRIPE_TEST_KEY=sk_test_… make test-stripe
	@$(RUN) -m tests.contracts.at_stripe

bench: $(READY) ## Measure recovery after a kill, the cost of an order and the HTTP edge
	@$(RUN) -m bench

lock: $(READY) ## Lock the requirements again after changing pyproject.toml
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' pyproject.toml -o requirements/app.txt
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' pyproject.toml --group dev -o requirements/dev.txt
	@echo 'uv==0.13.9' | $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' - -o requirements/uv.txt

clean: ## Remove the virtual environment and the sandbox's state
	rm -rf $(VENV) .sandbox

$(READY): requirements/dev.txt requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=python3.12, say."; exit 1; }
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(UV) pip sync --quiet --compile-bytecode --python $(VENV) --require-hashes requirements/dev.txt requirements/uv.txt
	@touch $@

.PHONY: help demo sandbox worker api check test test-stripe bench lock clean
