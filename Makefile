# One verb per intent; each installs what it lacks (scripts/setup.sh says how).
#
#   make demo     a schema loaded at run time, Python and Rust against grpcio, one line per result
#   make test     everything CI runs but the lints: Rust tests, the wheel, Python tests on each Python, peers
#   make wheel    the wheel, into dist/
#   make conformance   protobuf's own conformance suite against the codec
#   make bench    ours beside its peers, CPU per message
#   make lint     formatting, clippy, licences, types
#   make gen      rewrites what is generated and committed
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VENV := $(CURDIR)/.venv
# The wheel is tested on each of these; the first is the one demo, peers and benches use.
PYTHONS = $(shell scripts/pythons.sh | cut -d' ' -f1)
PYTEST ?= -q -rs
# A crate built as a Python extension has no test binary of its own: its tests are bindings-python/tests.
RUST_TESTED := --workspace --exclude stubless-python

.PHONY: help
help:
	@sed -n 's/^#   //p' Makefile

# ---- set-up -------------------------------------------------------------------------------------------------------

.PHONY: setup setup-base setup-peers venv-build venv
setup: setup-base setup-peers venv

setup-base:
	@scripts/setup.sh rust python

# The peers' own languages. A missing one is named, and its peer is then reported as not run.
setup-peers: setup-base venv
	@scripts/setup.sh --try node go
	tests/peers/build

venv-build: setup-base
	@scripts/venv.sh build/venv-build "$$(scripts/pythons.sh first)" scripts/requirements/build.txt

venv: setup-base
	@scripts/venv.sh $(VENV) "$$(scripts/pythons.sh first)" scripts/requirements/test.txt scripts/requirements/lint.txt

# ---- build --------------------------------------------------------------------------------------------------------

.PHONY: wheel install
wheel: venv-build
	@rm -rf dist/*.whl
	python=$$(scripts/pythons.sh first)
	cd bindings-python
	../build/venv-build/bin/maturin build --release --locked --interpreter "$$python" --out ../dist
	cd .. && ls -l dist/*.whl

# The built wheel, not the source tree, is what every Python step below imports.
install: venv wheel
	@$(VENV)/bin/python -m pip install --quiet --force-reinstall --no-deps --no-index dist/stubless-*.whl

# ---- show ---------------------------------------------------------------------------------------------------------

.PHONY: demo bench
demo: install
	@cargo build --quiet --release -p stubless --examples --locked
	$(VENV)/bin/python scripts/demo.py

bench: install
	@scripts/setup.sh --try node
	cargo build --release --manifest-path benches/Cargo.toml --workspace --locked
	$(VENV)/bin/python benches/run.py $(BENCH)

# ---- test ---------------------------------------------------------------------------------------------------------

.PHONY: test test-rust test-wasm test-python test-interop
test: test-rust test-wasm test-python test-interop

test-rust: setup-base
	@cargo test $(RUST_TESTED) --locked

# The engine without sockets, threads or a clock of its own: what a browser will run.
test-wasm: setup-base
	@scripts/setup.sh wasm
	cargo build -p stubless-engine --no-default-features --target wasm32-unknown-unknown --locked

test-python: wheel venv
	@test -n "$(PYTHONS)"
	for version in $(PYTHONS); do
	    python=$$(scripts/pythons.sh | sed -n "s/^$$version //p")
	    folder=build/venv-$$version
	    scripts/venv.sh $$folder "$$python" scripts/requirements/test.txt
	    $$folder/bin/python -m pip install --quiet --force-reinstall --no-deps --no-index dist/stubless-*.whl
	    echo "== pytest on Python $$version"
	    $$folder/bin/python -m pytest $(PYTEST) bindings-python/tests ||
	        $$folder/bin/python -m pytest $(PYTEST) --last-failed bindings-python/tests
	done

test-interop: install setup-peers
	@cargo build --quiet --release -p stubless -p stubless-engine --examples --locked
	# real sockets and real timers on machines that others use too: what fails is tried once more, alone
	$(VENV)/bin/python -m pytest $(PYTEST) tests || $(VENV)/bin/python -m pytest $(PYTEST) --last-failed tests

# protobuf's own suite, binary and JSON; what fails is listed in build/conformance-protobuf. Then random messages and
# broken JSON against Python's protobuf, by way of the same testee.
.PHONY: conformance
conformance: setup-base venv
	@scripts/conformance.sh
	$(VENV)/bin/python tests/conformance-protobuf/differential.py

# ---- read ---------------------------------------------------------------------------------------------------------

.PHONY: lint lint-rust lint-deny lint-python fmt
lint: lint-rust lint-deny lint-python

lint-rust: setup-base
	@cargo fmt --all --check
	PYO3_PYTHON="$$(scripts/pythons.sh first)" cargo clippy --workspace --all-targets --locked -- -D warnings

lint-deny: setup-base
	@"$$(scripts/pythons.sh first)" scripts/deny.py
	if command -v cargo-deny >/dev/null; then cargo deny --all-features check licenses bans sources; fi

lint-python: install
	@scripts/setup.sh --try node
	scripts/types.sh $(VENV)

fmt: setup-base
	@cargo fmt --all

# ---- write what is generated --------------------------------------------------------------------------------------

# What is committed although a program writes it: the engine's descriptor set. Fails if that changed it.
.PHONY: gen
gen: setup-base
	@STUBLESS_GENERATE=1 cargo test --quiet -p stubless-engine --test bundled --locked
	git diff --stat --exit-code -- core/engine/proto

.PHONY: clean
clean:
	rm -rf build dist .venv tests/peers/*/node_modules tests/peers/*/target benches/target scripts/pyright/node_modules
	cargo clean
