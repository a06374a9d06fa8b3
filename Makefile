# What needs no server: `make check` takes seconds. Everything, servers included: ./synapse-dev/test

PYTHON ?= .venv/bin/python
BIN := $(dir $(PYTHON))
CODE := etb_appservice tests scripts synapse-dev benchmarks
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(PYTHON) -m piptools compile -q --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links

.PHONY: check fix lock docs

check:
	$(BIN)ruff check $(wildcard $(CODE))
	$(BIN)ruff format --check $(wildcard $(CODE))
	$(BIN)mypy
	$(BIN)lint-imports
	$(PYTHON) -m pytest -q tests/unit

fix:
	$(BIN)ruff check --fix $(wildcard $(CODE))
	$(BIN)ruff format $(wildcard $(CODE))

# What is deployed, what builds it, and what it is developed with: every wheel by its hash.
lock:
	$(COMPILE) -o requirements/run.txt pyproject.toml
	$(COMPILE) -o requirements/build.txt --only-build-deps --build-deps-for wheel pyproject.toml
	$(COMPILE) -o requirements/dev.txt --extra dev --extra stack pyproject.toml

# The pages of docs/reference/ that are written from the code.
docs:
	PYTHONPATH=. $(PYTHON) scripts/docs.py
