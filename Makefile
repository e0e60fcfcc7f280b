# Everything starts from a plain python3 (3.11 or later); what is made goes into .venv and build/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := iproute2 mount openssl mmdebstrap qemu-user-static
TOOLS := ip mount openssl mmdebstrap qemu-aarch64-static

.PHONY: demo test tools lint bench wheel clean golden oracles spec torture fuzz

demo: $(VENV)/.run
	$(BIN)/edgenode demo

test: tools $(VENV)/.test lint
	$(BIN)/python -m pytest -q

# What tests need beside Python: network namespaces, a small file system, a second reader of keys, and a second CPU.
tools:
	@for tool in $(TOOLS); do command -v $$tool >/dev/null && continue; \
	if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -qy $(PACKAGES); \
	else echo "$$tool is missing, and its tests are skipped: sudo apt-get install $(PACKAGES)"; fi; done

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test
	$(BIN)/python -m tests.bench

# What steps gave on this version of the engine, when modules, golden inputs or the generator changed.
golden: $(VENV)/.test
	$(BIN)/python -m tests.determinism.golden --renew

# The long forms of what `make test` does for a moment.
oracles: tools $(VENV)/.test
	$(BIN)/python -m tests.determinism.oracles 0 2000 --all

# The test suite of the WebAssembly core specification, which Go's module proxy has: 40 s.
spec: tools $(VENV)/.test
	$(BIN)/python -m tests.determinism.spec --all

torture: $(VENV)/.test
	EDGENODE_KILLS=1000 $(BIN)/python -m pytest -q tests/scenario/test_killed_workers.py

fuzz: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),2)

wheel: $(VENV)/.test
	$(BIN)/python -m build --outdir build/dist

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# An editable install reads the checkout, so these are made again only when the dependencies change.
$(VENV)/.run: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("edgenode needs Python 3.11 or later, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
