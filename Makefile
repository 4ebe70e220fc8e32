# Two commands do everything: `make demo` and `make test`. `make check` changes nothing.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check fix lock bench bench-duplicates bench-models bench-queries bench-retag load docs screenshots stack-up stack-down clean

# Containers and CI often set it; each of the many processes would then compile torch anew, for 10 to 15 s.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(shell command -v uv || echo $(BIN)/uv)

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

install: $(STAMP) ## Make .venv with everything, pinned by hash; .venv/bin/sightline is then the command

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet uv
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: install ## Index a few hundred sample images and search them
	$(BIN)/sightline demo

# Most of the time tests wait for one another's servers; of more than two, each starts a broker of its own.
# In the order of files the slow ones come first, so that no worker is left alone with one.
test: install ## Every test but the slow ones, on the real servers it can start
	@$(BIN)/python -m deploy.stack fetch
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: install ## The slow suites: kill -9 twenty times, outages of a minute, long property runs
	@$(BIN)/python -m deploy.stack fetch
	$(BIN)/python -m pytest -m slow

check: install ## Formatting, lint, types, floors and generated pages; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m deploy.manifests --check

fix: install ## Format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install ## Write the generated files again: AsyncAPI, metrics, dashboards, settings and rules for Kubernetes
	$(BIN)/python -m docs.generate
	$(BIN)/python -m deploy.manifests

bench: install ## Throughput of the embedded pipeline against the bare model
	$(BIN)/python -m benchmarks.embed_throughput

bench-models: install ## Speed, memory and dimension of every model, as docs/models.md shows them
	$(BIN)/python -m benchmarks.models

bench-queries: install ## How long searches take over 100,000 images, with every filter and while images are indexed
	$(BIN)/python -m benchmarks.queries

bench-duplicates: install ## How long it takes to page through the duplicates of 100,000 images
	$(BIN)/python -m benchmarks.duplicates

bench-retag: install ## Images tagged anew per second, from an index of 100,000
	$(BIN)/python -m benchmarks.retag

load: install ## Upload 2,000 photographs to real servers and watch: the figures and panels of docs/load.md; six minutes
	@$(BIN)/python -m deploy.stack fetch
	$(BIN)/python -m benchmarks.load

lock: ## Pin the requirements again
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --all-extras --group dev pyproject.toml -o requirements.lock

screenshots: install ## Take the README's screenshots of the page again
	SCREENSHOTS=docs/images $(BIN)/python -m pytest -m slow tests/end_to_end/test_page_screenshots.py

stack-up: install ## Start Kafka and an S3 server whose notifications reach it; prints KEY=value lines
	@$(BIN)/python -m deploy.stack up

stack-down: ## Stop them
	@$(BIN)/python -m deploy.stack down

clean: ## Remove what was installed and cached in the checkout
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
