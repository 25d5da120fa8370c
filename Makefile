# `make run PORT=<port> REDIS_SERVER=<path>`: make exports the variables of its command line to the scripts.

# redis.conf and the tests look for the module here, so no other setting may move the target directory.
export CARGO_TARGET_DIR := $(CURDIR)/target

# Tests wait for servers most of their time.
export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))

.DEFAULT_GOAL := help
.PHONY: help setup build run check test test-matrix clients conformance gate soak failpoints fuzz upgrade nightly memcheck bench servers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Options:'
	@echo '  make run PORT=<port>                 another port than 6379'
	@echo '  make run|test REDIS_SERVER=<path>    another server than the installed one'
	@echo '  make test ONLY="unit keys"           only these test programs'
	@echo '  make test-matrix SERVERS="redis-system valkey-sid" TESTS="keys"'

setup: ## install what is missing: a Redis server, a C compiler and libclang
	@tools/setup.sh

build: ## build the module: target/release/libredis_lock.so
	@tools/setup.sh build
	cargo build --release --locked

run: ## build the module, then start Redis with it in the foreground
	@tools/run.sh

check: setup ## check format, lints and documentation
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --all-targets --locked --features failpoints -- -D warnings
	cargo clippy -p redis-lock-client -p redis-lock-rust-driver --all-targets --locked --features redis-lock-client/tracing,redis-lock-client/memory,redis-lock-rust-driver/planted-faults -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target/fuzz/check --locked -- -D warnings
	cargo run --quiet --locked -p redis-lock-structure
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items --locked

test: setup ## run all tests on the installed Redis server
	@tools/test.sh

test-matrix: setup build ## run the black-box tests on every server available, and print a table
	@tools/test-matrix.sh

clients: setup build ## run the tests of the client packages and of the examples: Go, Python, Node, Java, shell (ONLY="go")
	@tools/clients.sh

conformance: setup ## hold every client to the same scenarios (CLIENT="rust python" SERVER=<path> ONLY=<text> QUICK=1 FAULTS=1)
	@tools/conformance.sh

gate: setup ## all that a change must pass, as in CI: check, test, clients, conformance, test-matrix
	@tools/gate.sh

nightly: setup build servers ## run what takes too long for every change (PARTS="machines")
	@tools/nightly.sh $(PARTS)

memcheck: setup build ## run the black-box tests under a memory checker (TOOL=valgrind or asan)
	@tools/memcheck.sh $(or $(TOOL),valgrind)

soak: setup ## run random clients and failures, and check what the clients saw (SECONDS=60 SEED=1 SEEDS=1)
	cargo build --profile checked --locked --lib
	REDIS_LOCK_MODULE=$(CURDIR)/target/checked/libredis_lock.so SOAK_SECONDS=$(or $(SECONDS),60) SOAK_SEED=$(or $(SEED),1) SOAK_SEEDS=$(or $(SEEDS),1) cargo test --locked --test soak -- --nocapture

failpoints: setup build ## switch on each failpoint and check that a test notices it, in two minutes
	cargo test --locked --test failpoints -- --nocapture --include-ignored

fuzz: ## feed random bytes to every decoder and to the rules (SECONDS=60 each), see docs/testing.md
	@tools/fuzz.sh run $(or $(SECONDS),60)

upgrade: setup build ## try the upgrade from the last module whose stored form is version 1, and the way back
	@tools/upgrade.sh

bench: setup build ## measure what locks cost and write docs/benchmarks (QUICK=1: three minutes, nothing written)
	@tools/bench-setup.sh || echo 'make bench: some other locks are missing, so they are not compared'
	cargo bench --locked --bench instructions --bench handoff --bench memory --bench stall --bench overload --bench peers

servers: ## fetch newer Redis and Valkey servers for the tests, into target/servers
	@tools/fetch-servers.sh

clean: ## remove everything that was built or fetched
	cargo clean
