# Needs Python (with venv and headers) and a C++ compiler; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# make tables SEQUENCES=/data/test   # the folder with the clips of benchmarks/datasets/test-clips.toml
# make bench SEQUENCES=/data/clips PRESET=readme PERIODS="10 32" FRAMES=96 CODECS="libaom:preset=6@crf=30,40,50,60"
# SEQUENCES: files, folders, TOML lists. PRESET: see `python benchmarks/run.py --list`. The others go over it; ONLY names
# some of the sequences.
SEQUENCES ?= demo
PRESET ?= readme
CODECS ?=
PERIODS ?=
FRAMES ?=
ONLY ?=
THREADS ?= 1
RESULTS ?= runs/bench.json
ANCHOR ?= x265 veryfast zerolatency
TEST ?= dvc-lite
OPTIONS = --threads $(THREADS) $(if $(CODECS),--codecs $(CODECS)) $(if $(PERIODS),--intra-period $(PERIODS)) \
          $(if $(FRAMES),--frames $(FRAMES)) $(if $(ONLY),--only $(ONLY))
TABLES := benchmarks/results/test_clips.json
SPEED := benchmarks/results/speed.json
INPUTS ?= 1000000
REPORT ?= runs/report.html

.PHONY: help install demo test lint bench tables report speed coder fuzz clean

help:
	@echo "make demo    encode a short clip with dvc-lite and x265, compare, draw: demo-out/"
	@echo "make test    all tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   measure codecs on SEQUENCES (default: the demo clip), print BD-rates"
	@echo "make tables  measure on the test clips in SEQUENCES, write the tables of README.md"
	@echo "make report  a page about the same, with pictures of decoded frames"
	@echo "make speed   frames a second by size and threads (wants an idle machine), into README.md, too"
	@echo "make coder   the entropy coder against those on PyPI: benchmarks/results/coder.md"
	@echo "make fuzz    decode INPUTS damaged streams under sanitizers: benchmarks/results/coder-fuzz.md"
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
	$(BIN)/python benchmarks/run.py --preset $(PRESET) --sequences $(SEQUENCES) $(OPTIONS) --out $(RESULTS)
	$(BIN)/python benchmarks/bdrate.py $(RESULTS) --anchor "$(ANCHOR)" --test "$(TEST)" --metric yuv rgb ms-ssim vmaf
	$(BIN)/python benchmarks/plot.py $(RESULTS) --out $(RESULTS:.json=.png)

# Speed is measured by itself (make speed): tables come from a cache, and from machines that do other things, too.
tables: $(INSTALLED)
	$(BIN)/python benchmarks/run.py --preset readme --dataset test-clips $(SEQUENCES) $(OPTIONS) --untimed --out $(TABLES)
	$(BIN)/python benchmarks/readme_table.py

report: $(INSTALLED)
	$(BIN)/python benchmarks/report.py $(TABLES) --sequences $(SEQUENCES) $(if $(wildcard $(SPEED)),--speed $(SPEED)) \
	  --out $(REPORT)

speed: $(INSTALLED)
	$(BIN)/python benchmarks/speed.py --out $(SPEED)
	$(BIN)/python benchmarks/readme_table.py

coder: $(INSTALLED)
	$(BIN)/python benchmarks/coder.py

fuzz: $(INSTALLED)
	$(BIN)/python benchmarks/coder_fuzz.py --inputs $(INPUTS)

clean:
	rm -rf build dist *.egg-info lvc/*.so demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis $(INSTALLED)
	find lvc tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
