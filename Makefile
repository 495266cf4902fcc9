# make demo   render the demo videos, run the whole workflow on them, print the table of results
# make test   the tests of every module and one whole run, in minutes      make test-all   every test, in half an hour
# make check  format, lint, types, workflow lint, fast tests
# make change-table, make fuzz-cache   long tests of the cache (docs/caching.md)
# make fuzz   thousands of damaged files (FUZZ_CASES= of each kind, FUZZ_SEED= to begin with); make faults   every fault
# make audit  known vulnerabilities of the locked packages; asks PyPI (docs/reliability.md)
# make bench  benchmarks (CLIPS=)    make lock    pin the dependencies of pyproject.toml anew
# make export add what `moclip export --onnx` needs to .venv (docs/tutorial.md)
# make openvino add what `backend: openvino` needs to .venv (docs/appearance.md)
# make slurm  add what `snakemake --workflow-profile workflow/profiles/slurm` needs to .venv (docs/cluster.md)
# Each makes .venv by itself when it is missing or older than the lock. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
BIN := .venv/bin
READY := .venv/ready
# Of what the extra `export` draws in, requirements.lock has the rest already.
LOCKED := $(foreach name,$(shell sed -n 's/^\([a-z0-9_.-]*\)==.*/\1/p' requirements.lock),--no-emit-package $(name))
PYTEST := $(BIN)/python -m pytest
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# uv takes half the time of pip, and reads none of pip's settings: the index is handed over. $(1): options.
INSTALL = index=$$($(BIN)/python -m pip config get global.index-url 2> /dev/null || echo "$$PIP_INDEX_URL"); \
	$(BIN)/uv pip install --quiet --python $(BIN)/python $${index:+--default-index $$index} --require-hashes $(1) \
	|| { echo "uv cannot install them; trying pip ..."; $(PIP) --require-hashes $(1); }
# A whole run of a toy, and everything that uses one.
ONE_RUN := tests/workflow/test_use.py

.DELETE_ON_ERROR:
.PHONY: demo test test-workflow test-all check format bench export change-table fuzz-cache fuzz faults audit slurm lock clean

$(READY): requirements.lock requirements-setup.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: expected Python 3.11 or newer, found " + sys.version.split()[0] + "; set PYTHON=") if sys.version_info < (3, 11) else None'
	@echo "Installing the locked dependencies into .venv (about 6 GB, a few minutes) ..."
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) --require-hashes --requirement requirements-setup.lock
	@$(call INSTALL,--requirement requirements.lock)
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	$(BIN)/snakemake --cores $(CORES)
	@$(BIN)/moclip summary results/demo

test: $(READY)
	$(PYTEST) -m "not workflow" -n 2 -q
	$(PYTEST) $(ONE_RUN) -q

# What `make test` leaves out: whole runs of many projects. A module's tests share one run, so it stays in one process.
test-workflow: $(READY)
	$(PYTEST) -m workflow --ignore $(ONE_RUN) -n 2 --dist loadfile -q

test-all: test test-workflow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakemake --lint
	$(PYTEST) -m "not workflow" -n 2 -q

format: $(READY)
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

bench: $(READY)
	$(BIN)/python benchmarks/motion_decode.py $(CLIPS)

# All that these two need is in requirements.lock already.
slurm: $(READY)
	@$(call INSTALL,--no-deps --requirement requirements-slurm.lock)
	@$(BIN)/python -c 'import snakemake_executor_plugin_slurm'

# What these need is in requirements.lock, or in their own lock.
export: $(READY)
	@$(call INSTALL,--no-deps --requirement requirements-export.lock)
	@$(BIN)/python -c 'import onnx, onnxruntime, onnxscript'

# Every line of the table in docs/caching.md; and 200 histories and 30 kills, compared byte for byte with fresh builds
# (some hours; those in fuzz-cache.tsv are not repeated).
change-table: $(READY)
	CHANGES=all $(PYTEST) tests/workflow/test_change_table.py tests/workflow/test_plan.py -q

fuzz-cache: $(READY)
	$(BIN)/python -m tests.workflow.campaign --histories 200 --kills 30 --jobs 2 --record fuzz-cache.tsv

# Each line prints how many cases it tried, and what came of them.
FUZZ_CASES ?= 3000
FUZZ_SEED ?= 0
fuzz: $(READY)
	FUZZ_CASES=$(FUZZ_CASES) FUZZ_SEED=$(FUZZ_SEED) $(PYTEST) tests/fuzz/test_inputs.py -q -rP
	FUZZ_VIDEOS=$(FUZZ_CASES) FUZZ_SEED=$(FUZZ_SEED) $(PYTEST) tests/fuzz/test_videos.py -q

# docs/reliability.md, to the last line; small disks are mounted, which needs root.
faults: $(READY)
	$(PYTEST) tests/faults tests/security -q
	FAULTS=all $(PYTEST) tests/workflow/test_faults.py -q

# In an environment of its own, since users need none of it. `--strict`: a package that cannot be asked about is a failure.
audit: .venv/audit/ready
	@for lock in requirements*.lock; do echo "$$lock"; .venv/audit/bin/pip-audit --strict --require-hashes --disable-pip \
		--progress-spinner off --requirement $$lock || failed=1; done; test -z "$$failed"

.venv/audit/ready: $(READY)
	@$(PYTHON) -m venv --clear .venv/audit
	@.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@touch $@

openvino: $(READY)
	@$(call INSTALL,--no-deps --requirement requirements-openvino.lock)
	@$(BIN)/python -c 'import openvino'

lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' \
		--output-file requirements.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["slurm"], sep="\n")' \
		| $(BIN)/uv pip compile - --no-deps --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' \
		--output-file requirements-slurm.lock
	for extra in setup export openvino; do \
		$(BIN)/uv pip compile pyproject.toml --extra $$extra --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' \
			--constraint requirements.lock $(LOCKED) --output-file requirements-$$extra.lock || exit 1; \
	done

clean:
	rm -rf results logs benchmarks/results .snakemake
