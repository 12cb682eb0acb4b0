# make dataset and make test each work alone on a fresh machine: they set themselves up first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RECIPE ?= recipes/quickstart.yaml
RUN ?= runs/$(basename $(notdir $(RECIPE)))
BIN := .venv/bin
BENCHES := generate server memory pairs report collect dedup packs train score
READY := .venv/.ready
# Where torch's CPU builds are served, for machines whose pip does not find them by itself.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

.PHONY: setup dataset train report push card test test-slow lint check bench study study-quick clean
.DEFAULT_GOAL := dataset

setup: $(READY)

# With an NVIDIA GPU the extra `vllm`; otherwise the CPU lock, which leaves out what breaks vLLM there (see locks/).
$(READY): pyproject.toml locks/cpu-py311.txt
	@echo "setting up .venv (about two minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if nvidia-smi >/dev/null 2>&1; then \
	  $(PIP) install -e '.[vllm,transformers,server,hub,train,lora,dev]'; \
	else \
	  { $(PIP) install --no-deps -r locks/cpu-py311.txt \
	    || $(PIP) install --no-deps --extra-index-url $(TORCH_CPU) -r locks/cpu-py311.txt; } \
	  && $(PIP) install --no-deps --no-build-isolation -e .; \
	fi
	@touch $(READY)

dataset: setup
	$(BIN)/deltadata run $(RECIPE)

train: setup
	$(BIN)/deltadata train $(RECIPE)

report: setup
	$(BIN)/deltadata report $(RUN)

push: setup
	$(BIN)/deltadata push $(RUN)

# The card in the repository is that of a real run of the quickstart recipe; a test says when it is stale.
card: dataset
	rm -rf cards/example && mkdir -p cards/example
	cd runs/quickstart && cp -r dataset/README.md dataset/recipe.yaml dataset/record.json dataset/plots report.json \
	  $(CURDIR)/cards/example/

test: setup
	$(BIN)/python -m pytest -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -m slow --durations=5

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini tests/*.py benchmarks/*.py studies/*.py

check: lint test

bench: $(BENCHES:%=bench-%)

bench-%: setup
	$(BIN)/python benchmarks/$*.py

# The page docs/study.md: up to three hours on two cores; killed, it goes on where it was.
study: setup
	$(BIN)/python studies/study.py

study-quick: setup
	$(BIN)/python studies/study.py --quick

clean:
	rm -rf .venv runs models
