# Each target makes .venv and installs what it needs first. `make demo` and `make test` are all that a newcomer has to know.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/image/demo-$(shell date +%Y-%m-%d_%H-%M-%S)

.PHONY: help demo test unit gpu lint audit reference bench soak wheel clean

help:
	@echo "make demo   train on real images, sample, evaluate, and write a report (about 4 minutes on 2 cores)"
	@echo "make test   all tests (under 10 minutes on 2 cores)"
	@echo "make unit   the quick tests alone"
	@echo "make gpu    the tests that need a CUDA device"
	@echo "make lint   ruff, mypy, import rules, documentation"
	@echo "make audit  known vulnerabilities of the pinned dependencies (needs the network)"
	@echo "make reference  docs/plugins/reference.md from the code"
	@echo "make soak   kill, damage and fill up, and count what survives (an hour and a half on 2 cores; DIR runs/soak, goes on if repeated)"
	@echo "make bench  the benchmarks behind docs/results.md (hours; see benchmarks/README.md)"

.venv:
	@echo "making .venv with $(PYTHON)"
	$(PYTHON) -m venv .venv

.venv/.image: pyproject.toml constraints.txt | .venv
	@echo "installing suffuse with its image plugin (torch is large: some minutes and 6 GB the first time)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[image]"
	@touch $@

.venv/.dev: pyproject.toml plugins/crystal/pyproject.toml constraints.txt | .venv
	@echo "installing suffuse with everything that its tests use (torch is large: some minutes and 6 GB the first time)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable "plugins/crystal[smact]"
	@touch $@ .venv/.image

.venv/.bench: .venv/.dev
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps k-diffusion
	@touch $@

demo: .venv/.image
	$(BIN)/suffuse train modality=image hydra.run.dir=$(RUN)
	$(BIN)/suffuse sample run=$(RUN) n=100
	$(BIN)/suffuse evaluate run=$(RUN)
	$(BIN)/suffuse report run=$(RUN)
	@echo "open $(RUN)/report.html"

test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

unit: .venv/.dev
	$(BIN)/python -m pytest tests/unit tests/laws tests/plugins -m "not slow"

gpu: .venv/.dev
	$(BIN)/python -m pytest tests -m gpu

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs

# In an environment of its own: the auditor's dependencies are none of ours.
audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

reference: .venv/.dev
	$(BIN)/python -m suffuse.testing.reference > docs/plugins/reference.md

bench: .venv/.bench
	$(BIN)/python -m benchmarks all

soak: .venv/.dev
	$(BIN)/python -m benchmarks survival faults hostile many upkeep endurance --runs runs/soak

wheel: .venv/.dev
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf .venv .venv-audit dist build .mypy_cache .ruff_cache .pytest_cache
