# The two commands: make demo, make test. Each works first thing on a new machine.
SHELL := /bin/sh
# uv from the path, or one in the private .venv, put there with nothing but Python 3.11 and pip.
UV := $(shell command -v uv || echo .venv/bin/uv)
PYTHON ?= python3

.PHONY: demo test lint format clean install

demo: install
	.venv/bin/marina demo $(ARGS)

test: install
	.venv/bin/python -m pytest $(ARGS)

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: install
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

install: .venv/installed

.venv/installed: pyproject.toml uv.lock
	@command -v $(UV) >/dev/null 2>&1 || $(MAKE) --no-print-directory .venv/bin/uv
	$(UV) sync --locked
	@touch $@

.venv/bin/uv:
	$(PYTHON) -m venv .venv || { \
	  echo "needs Python 3.11 with venv (Debian: apt-get install python3-venv)" >&2; exit 1; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"

# Everything that was made here but the data, runs, archives and logs of your own work.
clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
