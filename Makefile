# The two commands: make demo, make test. Each works first thing on a new machine.
SHELL := /bin/sh
# uv from the path, or one in the private .venv, put there with nothing but Python 3.11 and pip.
UV := $(shell command -v uv || echo .venv/bin/uv)
PYTHON ?= python3

.PHONY: demo test test-full test-gpu lint format fuzz faults soak image clean install

demo: install
	.venv/bin/marina demo $(ARGS)

# Three at a time, with one thread each: most tests wait for a server. A file's tests share servers.
test: install
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# What takes minutes besides: 20 changes of a split under 10,000 requests, what a switch costs in time,
# a candidate that dies, the demo, a bundle with all of its wheels
test-full: install
	MARINA_FULL=1 .venv/bin/python -m pytest \
	  tests/serve/test_gateway_traffic.py tests/serve/test_rollout.py tests/serve/test_switch_cost.py \
	  tests/e2e/test_demo_rollout.py tests/ship/test_bundle.py $(ARGS)

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# What needs CUDA.
test-gpu: install
	.venv/bin/python -m pytest -m gpu $(ARGS)

format: install
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# Coverage-guided fuzzing of the decode path: make fuzz SECONDS=600. Findings go to .fuzz/.
fuzz: SECONDS ?= 60
fuzz: install
	$(UV) sync --locked --quiet --inexact --group fuzz
	.venv/bin/python scripts/fuzz_decode.py -max_total_time=$(SECONDS)

# Every fault, what was expected and what was seen, as a table: make faults WORDS="killed or scan".
faults: install
	.venv/bin/python scripts/faults.py $(WORDS)

# An hour at 80% of capacity with version switches. The plot goes to soak/.
soak: MINUTES ?= 60
soak: install
	.venv/bin/python scripts/soak.py --minutes $(MINUTES)

# The image, and the client against it: make image TARGET=cuda ENGINE=podman BUILD="--build-arg …".
# Buildah only builds: Podman, which shares its images, runs them. Its OCI form has no HEALTHCHECK.
image: TARGET ?= cpu
image: ENGINE ?= $(shell command -v docker || command -v podman || command -v buildah)
image: install
	@test -n "$(ENGINE)" || { echo "needs docker, podman or buildah" >&2; exit 1; }
	BUILDAH_FORMAT=docker $(ENGINE) build --file docker/Dockerfile --target $(TARGET) \
	  --tag marina:$(TARGET) $(BUILD) .
	MARINA_IMAGE=marina:$(TARGET) ENGINE=$(ENGINE:%buildah=%podman) \
	  .venv/bin/python -m pytest tests/ship/test_built_image.py

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
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
