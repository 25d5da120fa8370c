# `make run PORT=<port> REDIS_SERVER=<path>`: make hands variables of its command line on to the scripts.

# redis.conf and the tests look for the module here, so a target directory set elsewhere must not move it.
export CARGO_TARGET_DIR := $(CURDIR)/target

# Tests wait for servers most of their time.
export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))

.DEFAULT_GOAL := help
.PHONY: help setup build run test test-matrix examples soak planted-faults fuzz nightly memcheck bench servers check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Options: make run PORT=<port>; make run|test REDIS_SERVER=<path of another server>'
	@echo '         make test-matrix SERVERS="redis-system valkey-sid"'

setup: ## install what is missing: a Redis server, a C compiler, libclang
	@tools/setup.sh

build: setup ## build the module: target/release/libredis_lock.so
	cargo build --release --locked

run: ## build, then start a Redis with the module in the foreground
	@tools/run.sh

test: build ## run every test
	@tools/fetch-servers.sh || echo 'make test: the module is not tried on newer servers.'
	cargo test --release --locked --no-fail-fast --lib
	cargo test --locked --no-fail-fast --test '*'
	cargo test --locked --no-fail-fast -p redis-lock-client -p redis-lock-soak -p redis-lock-test-support

test-matrix: build ## run the black-box tests on every server that can be had, and print a table
	@tools/test-matrix.sh

examples: build ## run the tests of the examples: Go, Python, Node, Java, shell (ONLY="go")
	@tools/examples.sh

nightly: build servers ## what takes too long for every change (PARTS="machines")
	@tools/nightly.sh $(PARTS)

memcheck: build ## the black-box tests under a memory checker (TOOL=valgrind or asan)
	@tools/memcheck.sh $(or $(TOOL),valgrind)

soak: build ## random clients and failures against a checker (SECONDS=60 SEED=1 SEEDS=1)
	SOAK_SECONDS=$(or $(SECONDS),60) SOAK_SEED=$(or $(SEED),1) SOAK_SEEDS=$(or $(SEEDS),1) cargo test --locked --test soak -- --nocapture

planted-faults: build ## plant each fault in the module and let the tests find it: two minutes, and the table of docs/robustness.md
	cargo test --locked --test planted_faults -- --nocapture --include-ignored

fuzz: ## feed hostile bytes to every decoder and to the rules (SECONDS=60 each), see docs/fuzzing.md
	@tools/fuzz.sh run $(or $(SECONDS),60)

bench: build ## measure what locks cost (QUICK=1: three minutes), into docs/benchmarks
	@tools/bench-setup.sh || echo 'make bench: redis-lock is not compared with everything.'
	cargo bench --locked --bench instructions --bench handoff --bench memory --bench stall --bench overload --bench peers

servers: ## fetch newer Redis and Valkey servers for the tests into target/servers
	@tools/fetch-servers.sh

check: setup ## check format, lints and documentation
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --all-targets --locked --features planted-faults -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target/fuzz/check --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items --locked

clean: ## remove all that was built, fetched and stored
	cargo clean
