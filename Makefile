# Needs Python (with venv and headers) and a C++ compiler; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# make bench SEQUENCES=/data/clips PRESET=readme PERIODS="10 32" FRAMES=96 CODECS="libaom:preset=6@crf=30,40,50,60"
# SEQUENCES: files, folders, TOML lists. PRESET: see `python benchmarks/run.py --list`. The others go over it.
SEQUENCES ?= demo
PRESET ?= readme
CODECS ?=
PERIODS ?=
FRAMES ?=
THREADS ?= 1
RESULTS ?= runs/bench.json
ANCHOR ?= x265 veryfast zerolatency
TEST ?= dvc-lite
BENCH = --preset $(PRESET) --sequences $(SEQUENCES) --threads $(THREADS) $(if $(CODECS),--codecs $(CODECS)) \
        $(if $(PERIODS),--intra-period $(PERIODS)) $(if $(FRAMES),--frames $(FRAMES))

.PHONY: help install demo test lint bench tables clean

help:
	@echo "make demo    encode a short clip with dvc-lite and x265, compare, draw: demo-out/"
	@echo "make test    all tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   measure codecs on SEQUENCES (default: the demo clip), print BD-rates"
	@echo "make tables  measure on SEQUENCES, write the tables of README.md"
	@echo "make clean   remove what was built, but not .venv"

# The extension is built by the installation, so its sources are what it depends on.
$(INSTALLED): pyproject.toml setup.py $(wildcard csrc/*.h csrc/*.cpp csrc/*/*.h csrc/*/*.cpp)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "make: $(PYTHON) cannot create .venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/python benchmarks/demo.py --out demo-out

test: $(INSTALLED)
	$(BIN)/python -m pytest -q

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/run.py $(BENCH) --out $(RESULTS)
	$(BIN)/python benchmarks/bdrate.py $(RESULTS) --anchor "$(ANCHOR)" --test "$(TEST)" --metric yuv rgb ms-ssim vmaf
	$(BIN)/python benchmarks/plot.py $(RESULTS) --out $(RESULTS:.json=.png)

tables: $(INSTALLED)
	$(BIN)/python benchmarks/run.py $(BENCH) --out benchmarks/results/test_clips.json
	$(BIN)/python benchmarks/readme_table.py

clean:
	rm -rf build dist *.egg-info lvc/*.so demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis $(INSTALLED)
	find lvc tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
