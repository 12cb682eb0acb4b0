# make dataset and make test each work alone on a fresh machine: they set themselves up first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RECIPE ?= recipes/quickstart.yaml
RUN ?= runs/$(basename $(notdir $(RECIPE)))
BIN := .venv/bin
READY := .venv/.ready
# Where torch's CPU builds are served, for machines whose pip does not find them by itself.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

.PHONY: setup dataset train report test test-slow lint check bench bench-generate bench-server bench-memory bench-pairs bench-report bench-collect bench-train clean
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

test: setup
	$(BIN)/python -m pytest -n auto

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini tests/*.py benchmarks/*.py

check: lint test

bench: bench-generate bench-server bench-memory bench-pairs bench-report bench-collect bench-train

bench-generate: setup
	$(BIN)/python benchmarks/generate.py

bench-server: setup
	$(BIN)/python benchmarks/server.py

bench-memory: setup
	$(BIN)/python benchmarks/memory.py

bench-pairs: setup
	$(BIN)/python benchmarks/pairs.py

bench-report: setup
	$(BIN)/python benchmarks/report.py

bench-collect: setup
	$(BIN)/python benchmarks/collect.py
	$(BIN)/python benchmarks/dedup.py
	$(BIN)/python benchmarks/packs.py

bench-train: setup
	$(BIN)/python benchmarks/train.py

clean:
	rm -rf .venv runs models
