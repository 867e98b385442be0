# Heed: two commands matter, `make demo` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
DATA ?=
REPORT ?=
TESTS ?= tests
.DEFAULT_GOAL := help
BENCH ?=
.PHONY: test-ray bench-batch bench-serving bench-serving-setup bench-serving-long bench-quality bench-ingest bench-ingest-peer bench-quality-full chaos chaos-training fuzz test-clients test-training help install demo test test-fast up down check format lint types contracts openapi docs audit sbom docker-lint bench-masking bench-raters clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp makes every target install by itself, once, and again when the dependencies change.
$(VENV)/.installed: pyproject.toml clients/python/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Heed needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[$(EXTRAS)]' \
	  --editable clients/python
	@touch $@

install: $(VENV)/.installed ## Make .venv with Heed and everything it needs in it

demo: install ## Run the whole loop on the bundled sample, or on yours: make demo DATA=feedback.jsonl
	$(BIN)/heed demo $(if $(DATA),--data "$(DATA)") $(if $(REPORT),--report "$(REPORT)")

test: install ## Run every test on a real Postgres (embedded, or HEED_DATABASE_URL)
	$(BIN)/python -m pytest $(TESTS)

test-fast: install ## Run the tests that take seconds
	$(BIN)/python -m pytest $(TESTS) -m "not slow"

test-training: install ## Every policy recipe moves a policy as it says, on tiny ones (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/trainer/policies tests/trainer/launchers

up: install ## Start the database and the services in the background
	$(BIN)/heed up

down: install ## Stop what `make up` started
	$(BIN)/heed down

check: lint types contracts docker-lint ## Everything CI checks beside the tests

lint: install ## Style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## Static types, strict
	$(BIN)/mypy

contracts: install ## Who may import whom
	$(BIN)/lint-imports

format: install ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: install ## Write openapi/*.json anew
	$(BIN)/python -m services.feedback_api.openapi
	$(BIN)/python -m services.reward_service.openapi

docs: install ## Build the documentation site in site/
	$(BIN)/zensical build --clean --strict

test-ray: ## Train and score on a local Ray cluster of which a node dies (installs Ray aside)
	test -x build/ray/bin/python || $(PYTHON) -m venv build/ray
	build/ray/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[dev,ray]' --editable clients/python
	build/ray/bin/python -m pytest -rs tests/trainer/launchers tests/trainer/batch_scoring/test_over_ray.py

docker-lint: install ## Dockerfiles by hadolint; the compose file and the workflows against their schemas
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

audit: install ## Known vulnerabilities in the installed packages (asks PyPI)
	$(BIN)/pip-audit --skip-editable

sbom: install ## Write the software bill of materials, CycloneDX JSON, to build/sbom.json
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.json $(BIN)/python

bench-ingest: install ## Posts a second beside the ceiling and an ORM commit each (needs wrk; 7 minutes)
	$(BIN)/python benchmarks/ingest.py $(BENCH)

bench-ingest-peer: ## Install Phoenix aside, for a row of its own in bench-ingest
	$(PYTHON) -m venv build/phoenix
	build/phoenix/bin/python -m pip install --quiet 'arize-phoenix[pg]'

bench-serving-setup: install ## Install infinity-emb aside on the same weights, the peer of bench-serving
	$(BIN)/python -m venv build/infinity
	build/infinity/bin/python -m pip install --quiet --disable-pip-version-check 'infinity-emb[torch,server]==0.0.78' \
	  'transformers==4.48.3' 'pyarrow<20' 'datasets<4' 'pandas<3' 'optimum==1.27' "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m benchmarks.serving.peer_models

bench-serving: install ## /rerank and /score beside infinity-emb and the engine's limits (10 minutes; BENCH="--engine bf16")
	$(BIN)/python -m benchmarks.serving $(BENCH)

bench-serving-long: install ## Overload, 100 swaps, killed threads, a soak (10 minutes; BENCH="--soak-minutes 60")
	$(BIN)/python -m benchmarks.serving.long $(BENCH)

test-clients: install ## Rank with LiteLLM and Haystack, which get an environment of their own
	test -x build/clients/bin/python || $(PYTHON) -m venv build/clients
	build/clients/bin/python -m pip install --quiet --disable-pip-version-check litellm haystack-ai cohere-haystack jina-haystack huggingface-api-haystack
	$(BIN)/python -m pytest tests/reward_service/dialects/test_clients_aside.py

chaos: install ## 20,000 posts while Postgres and the API are killed again and again
	$(BIN)/python benchmarks/chaos.py $(BENCH)

bench-quality-full: install ## The transformer beside the embedding model on public judgements (hours; BENCH="--seeds 1 --most 400" minutes)
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.quality_transformer $(BENCH)

bench-masking: install ## Measure what the masker finds; writes benchmarks/results/masking.json
	$(BIN)/python -m benchmarks.masking

bench-raters: install ## What planted raters cost a model; writes benchmarks/results/raters.json
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.raters $(BENCH)

bench-quality: install ## Agreement with people on public judgements (DATA=folder, default ../shared/data)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.quality $(if $(DATA),--data "$(DATA)") $(BENCH)

bench-batch: install ## `heed score` beside a bare loop of its scorer, and its memory on 200,000 rows
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.batch_scoring $(BENCH)

chaos-training: install ## 30 runs while recipe, worker and Postgres are killed, or they are cancelled and resumed (an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.training_chaos $(BENCH)

fuzz: install ## Ask both services for everything their OpenAPI describes, at length
	HEED_TEST_EXAMPLES=100 $(BIN)/python -m pytest tests/feedback_api/test_schemathesis.py tests/reward_service/test_reward_schemathesis.py

clean: ## Remove the virtual environment, caches and the demo's folder
	rm -rf $(VENV) .heed-demo build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
