# Each target makes what it needs in .venv, once, and again when pyproject.toml changes.
# Another interpreter: make PYTHON=python3.13 test     One test file: make test ARGS=tests/unit/test_ids.py

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.PHONY: help demo dev test test-rabbitmq coverage lint bench soak chaos clean
.DEFAULT_GOAL := help

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

demo: .venv/.installed  ## install, start everything here, push some thousands, account for each of them
	@$(BIN)/apns-dispatcher demo $(ARGS)

dev: .venv/.installed  ## the same parts, kept running until Ctrl-C
	@$(BIN)/apns-dispatcher dev $(ARGS)

test: .venv/.tools  ## every test, in random order
	@$(BIN)/python -m pytest $(ARGS)

test-rabbitmq: .venv/.tools  ## the tests that need RabbitMQ, and nothing else
	@command -v rabbitmq-server >/dev/null || { echo "RabbitMQ is not installed: apt-get install rabbitmq-server" >&2; exit 1; }
	@$(BIN)/python -m pytest $(or $(ARGS),tests/rabbitmq)

coverage: .venv/.tools  ## every test, and which lines and branches none of them reached
	@$(BIN)/python -m pytest --cov $(ARGS)

lint: .venv/.tools  ## formatting, lints, types, import rules, deployment files
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint deploy/Dockerfile
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

bench: .venv/.installed  ## how fast this machine enqueues and sends
	@$(BIN)/python -m tests.bench $(ARGS)

soak: .venv/.installed  ## an hour at 1,000 pushes a second; other long tests: APNS_LONG=1 make test ARGS='--timeout 3600'
	@$(BIN)/python -m tests.soak $(ARGS)

chaos: .venv/.installed  ## 15 minutes of kills and bad networks, then one fault after another; ARGS=soak: two hours
	@$(BIN)/python -m tests.chaos $(or $(ARGS),chaos)
	@$(if $(ARGS),,$(BIN)/python -m tests.chaos faults)

clean:  ## remove everything that make made
	rm -rf .venv build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that is already there is used as it is, whoever made it, if its Python is new enough.
.venv/.python:
	@test -x $(BIN)/python || { $(call new_enough,$(PYTHON),make PYTHON=python3.13) && $(PYTHON) -m venv .venv; }
	@$(call new_enough,$(BIN)/python,remove .venv)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@touch $@

.venv/.installed: pyproject.toml | .venv/.python
	@echo "installing apns-dispatcher into .venv"
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

# Dependency groups need pip 25.1; a new .venv of an older Python comes with an older one.
.venv/.tools: pyproject.toml | .venv/.installed
	@echo "installing the tools for tests and lints into .venv"
	@$(PIP_INSTALL) 'pip>=25.1'
	@$(PIP_INSTALL) --group lint
	@touch $@

PIP_INSTALL = $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

# $(call new_enough,interpreter,what to do if it is not)
new_enough = { $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "apns-dispatcher needs Python 3.11 or newer, $(1) is not: $(2)" >&2; exit 1; }; }
