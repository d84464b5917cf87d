# Instar. `make help` lists what there is.

SHELL := /bin/bash
CARGO ?= cargo
INPUT ?=
SECONDS_MAX ?= 25
MINUTES ?= 10

.PHONY: help demo demo-ha demo-swap fleet plugins test faults soak bench bench-ha install format target

help: ## lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: target ## counts the words of a folder on a cluster whose master is swapped and whose parts are killed; INPUT=DIR
	@$(CARGO) build --release --locked --package instar-host --bin instar --package instar-tests --bin demo
	@./target/release/demo --instar ./target/release/instar $(if $(INPUT),--input "$(INPUT)")

demo-ha: target ## counts the words of a folder on a cluster whose leading masters are ended in three ways; INPUT=DIR
	@$(CARGO) build --release --locked --package instar-host --bin instar --package instar-tests --bin demo-ha
	@./target/release/demo-ha --instar ./target/release/instar $(if $(INPUT),--input "$(INPUT)")

demo-swap: target ## counts the words of a folder while the counter is replaced ten times a second; INPUT=DIR, SECONDS_MAX=N
	@$(CARGO) build --release --locked --package instar-host --bin instar --package instar-tests --bin swap-demo
	@./target/release/swap-demo --instar ./target/release/instar \
		$(if $(INPUT),--input "$(INPUT)") --seconds $(SECONDS_MAX)

test: target ## everything that CI runs: format, clippy, docs, unit and integration tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked --features instar-sdk/tracing -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked --package instar-host --package instar-sdk
	$(CARGO) test --workspace --locked --features instar-sdk/tracing

faults: target ## kills, freezes and cuts off masters and ZooKeeper by chance for MINUTES; INSTAR_SEED=N repeats
	INSTAR_FAULT_MINUTES=$(MINUTES) $(CARGO) test --locked --package instar-tests --test fault_schedules -- --nocapture

soak: target ## swaps a loaded endpoint 10,000 times and counts what goes wrong
	@$(CARGO) build --release --locked --package instar-host --bin instar
	@./target/release/instar soak --swaps 10000 --for 10min

bench: target ## tables of times beside a bare wasmtime call, a raw TCP ping-pong, and the same without swaps
	$(CARGO) bench --locked --package instar-tests

bench-ha: target ## measures how long nobody leads after a master was stopped, killed or frozen, and what recovery takes
	@$(CARGO) build --release --locked --package instar-host --bin instar --package instar-tests --bin failover
	@./target/release/failover --instar ./target/release/instar

fleet: target ## measures one master with 10,000 workers and 1,000 applications
	@$(CARGO) build --release --locked --package instar-host --bin instar --package instar-tests --bin fleet
	@./target/release/fleet --instar ./target/release/instar

# Package, feature, and name of the component.
PLUGINS := master,spread-out,master master,consolidate,master-consolidate worker,,worker \
	wordcount,driver,wordcount-driver wordcount,executor,wordcount-executor \
	primes,driver,primes-driver primes,executor,primes-executor echo,,echo

plugins: target ## builds the plugins to target/plugins/, to run, submit and swap them
	@mkdir -p target/plugins
	@set -e; for plugin in $(PLUGINS); do IFS=, read -r package feature name <<< "$$plugin"; \
		$(CARGO) build --locked --profile guest --target wasm32-wasip2 --target-dir target/guest \
			--package "$$package" --no-default-features --features "$$feature"; \
		cp "target/guest/wasm32-wasip2/guest/$${package//-/_}.wasm" "target/plugins/$$name.wasm"; \
	done; ls -l target/plugins

install: target ## installs the one binary `instar`
	$(CARGO) install --locked --path host

format: ## formats all sources
	$(CARGO) fmt --all

# Wasm's standard library, for the plugins. No network where it is there already.
target:
	@rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2
