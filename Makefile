# Needs Python (with venv and headers) and a C++ compiler; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# make bench SEQUENCES=/data/hevc_d CODECS="..." PERIODS="10 32" FRAMES=96 RESULTS=benchmarks/results/hevc_d.json
SEQUENCES ?= demo
CODECS ?= dvc-lite@quality=8,20,32,44,56 \
          x264:preset=veryfast,tune=zerolatency@crf=19,23,27,31,35 \
          x265:preset=veryfast,tune=zerolatency@crf=19,23,27,31,35 \
          x265:preset=medium@crf=19,23,27,31,35 \
          svt-av1:preset=8@crf=24,32,40,48,56
PERIODS ?= 10 32
FRAMES ?= 32
RESULTS ?= runs/bench.json

.PHONY: help install demo test lint bench clean

help:
	@echo "make demo    encode a short clip with dvc-lite and x265, compare, draw: demo-out/"
	@echo "make test    all tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   measure codecs on SEQUENCES (default: the demo clip), print BD-rates"
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
	$(BIN)/python benchmarks/run.py --sequences $(SEQUENCES) --codecs $(CODECS) \
	  --intra-period $(PERIODS) --frames $(FRAMES) --out $(RESULTS)
	$(BIN)/python benchmarks/bdrate.py $(RESULTS) --anchor "x265:preset=veryfast,tune=zerolatency" --test dvc-lite
	$(BIN)/python benchmarks/plot.py $(RESULTS) --out $(RESULTS:.json=.png)

clean:
	rm -rf build dist *.egg-info lvc/*.so demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis $(INSTALLED)
	find lvc tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
