# `make help` says what there is. Nothing here needs the network once `make demo` or `make check` has installed it all.

VENV ?= .venv
DEMO ?= demo-out
TORCH ?=
ARGS ?=
JOBS ?= 2
EXAMPLES ?= 3000
PYTHONS ?= 3.11 3.12 3.13

CANDIDATES := python3 python3.13 python3.12 python3.11
SUITABLE := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
# Each is run, not just looked for: a pyenv shim is on PATH whether or not it leads to a Python.
PYTHON ?= $(shell for python in $(CANDIDATES); do "$$python" $(SUITABLE) && { echo "$$python"; break; }; done)

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Files of tests are shared out among processes, in our order; what a file's tests have in common is made once. Several
# processes with as many threads as cores each would wait for one another: tiny models then take ten times as long.
PYTEST = $(if $(filter-out 0 1,$(JOBS)),OMP_NUM_THREADS=1 )"$(BIN)/python" -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder
PACKAGING := pyproject.toml setup.py $(wildcard startup/*)

# pip installs without compiling (below), so the first import of a module has to keep what it compiled.
unexport PYTHONDONTWRITEBYTECODE
# Two pips in one environment would spoil it.
.NOTPARALLEL:
.PHONY: help demo test test-plugin fuzz bench gpu-check docs notebooks check release clean

help:
	@echo "make demo         install into $(VENV), then train on CACM and search it; results in $(DEMO)"
	@echo "make test         the whole test suite; ARGS='tests/plugin -x' for a part of it"
	@echo "make test-plugin  what may differ between versions of Python and Pyserini"
	@echo "make fuzz         EXAMPLES broken files of each kind that we read (here: $(EXAMPLES))"
	@echo "make bench        every benchmark, each in about two minutes or less; JSON and a table in bench-out; ARGS='--only encode'"
	@echo "make gpu-check    what a GPU user runs, in under five minutes, with PYTHON's own torch; installs nothing; gpu-out"
	@echo "make docs         the documentation as a site in the folder site"
	@echo "make notebooks    run the tutorials afresh, and keep their outputs; ARGS=docs/tutorials/02-hybrid.ipynb for one"
	@echo "make check        ruff and mypy"
	@echo "make release      build in dist what PyPI takes, and try it on PYTHONS; upload nothing"
	@echo "make clean        remove $(VENV), $(DEMO) and build leftovers"
	@echo
	@echo "PYTHON=COMMAND    Python 3.11 or newer (here: $(or $(PYTHON),none found))"
	@echo "PYTHONS=VERSIONS  the versions of Python that a release is tried on (here: $(PYTHONS))"
	@echo "VENV=FOLDER       the virtual environment"
	@echo "JOBS=NUMBER       processes that test at once (here: $(JOBS)), up to 2 GB each; 0: in one"
	@echo "DEMO=FOLDER       the demo's results"
	@echo "TORCH='ARGUMENTS' what to give pip to install PyTorch first. Its own choice on Linux has NVIDIA's libraries,"
	@echo "                  several GB: without a GPU, take the arguments for a CPU build from pytorch.org"

demo: $(INSTALLED)-demo
	@"$(BIN)/tasb" demo --output "$(DEMO)"

test: $(INSTALLED)-test
	$(PYTEST) $(ARGS)

test-plugin: $(INSTALLED)-test
	$(PYTEST) tests/plugin tests/packaging tests/training/test_training.py $(ARGS)

fuzz: $(INSTALLED)-test
	TASB_FUZZ_EXAMPLES=$(EXAMPLES) $(PYTEST) tests/test_fuzz.py $(ARGS)

bench: $(INSTALLED)-bench
	"$(BIN)/python" benchmarks/every_benchmark.py $(ARGS)

# Not in $(VENV): a machine with a GPU often has torch and little else, and no network.
gpu-check:
	@"$(PYTHON)" benchmarks/gpu/check.py $(ARGS)

# MkDocs would advertise its successors on each build.
docs: $(INSTALLED)-docs
	@NO_MKDOCS_2_WARNING=1 "$(BIN)/python" -m mkdocs build --strict --quiet $(ARGS)
	@echo "Open site/index.html; its search needs a server: python3 -m http.server --directory site"

notebooks: $(INSTALLED)-test
	"$(BIN)/python" docs/notebooks.py $(ARGS)

check: $(INSTALLED)-dev
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

release: $(INSTALLED)-dev
	"$(BIN)/python" .ci/release.py --pythons $(PYTHONS) $(if $(TORCH),--torch '$(TORCH)')

clean:
	@test ! -e "$(VENV)/.made" || rm -rf "$(VENV)"
	@test ! -e "$(DEMO)/.tasb-steps" || rm -rf "$(DEMO)"
	rm -rf build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.made:
	@"$(PYTHON)" $(SUITABLE) || { \
	  echo "No Python 3.11 or newer. Looked for $(if $(PYTHON),$(PYTHON),$(CANDIDATES)), and found:"; \
	  for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	    echo "  $$python: $$("$$python" --version 2>/dev/null || echo 'nothing that runs')"; \
	  done; \
	  echo "Install one (apt install python3 python3-venv; brew install python; conda create -n tasb python=3.12),"; \
	  echo "or say where it is: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; \
	  exit 1; } >&2
	@echo "Making $(VENV) with $$("$(PYTHON)" --version) ($(PYTHON))"
	@"$(PYTHON)" -m venv "$(VENV)"
	@touch "$@"

# demo, test and dev are extras of pyproject.toml; each includes the one before. bench includes demo, and dev docs. Most of what is installed is never
# imported, and compiling it all takes 1-2 minutes. Pyserini 2.4.0 is ruled out by pyproject.toml (which says why); said
# here as well, pip does not download it first.
$(INSTALLED)-%: $(VENV)/.made $(PACKAGING)
	@echo "Installing pyserini-tasb[$*] with Pyserini and PyTorch into $(VENV): several minutes ..."
	@$(if $(TORCH),"$(BIN)/python" -m pip install -qq --disable-pip-version-check --no-compile $(TORCH))
	@"$(BIN)/python" -m pip install -qq --disable-pip-version-check --no-compile -e '.[$*]' 'pyserini!=2.4.0'
	@touch $(if $(filter docs,$*),,$(INSTALLED)-demo) $(if $(filter dev,$*),$(INSTALLED)-test $(INSTALLED)-docs) "$@"
