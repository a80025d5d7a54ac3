# Everything here runs in the release profile: the tests that start the program and the
# demo then use one and the same build of it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

brokers := tests/brokers

# Stops the brokers however the recipe ends, unless KEEP_BROKERS=1, and leaves its exit
# status as it is.
with_brokers = trap '[[ "$${KEEP_BROKERS:-}" == 1 ]] || $(brokers_down)' EXIT; $(brokers_up); \
	export $$($(brokers)/kafka.sh env) $$($(brokers)/rabbitmq.sh env) $$($(brokers)/postgres.sh env)
brokers_up = $(brokers)/kafka.sh start; $(brokers)/rabbitmq.sh start; $(brokers)/postgres.sh start
brokers_down = { $(brokers)/kafka.sh stop; $(brokers)/rabbitmq.sh stop; $(brokers)/postgres.sh stop; }

.PHONY: help demo test torture bench lint brokers-up brokers-down schemas

help: ## show this list
	@sed -n 's/^\([a-z-]*\): ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## run the quickstart pipeline once
	cargo run --release -- dev --once examples/quickstart/pipeline.toml

test: ## run all tests, with a real Kafka, RabbitMQ and PostgreSQL (KEEP_BROKERS=1 leaves them up)
	$(brokers)/install.sh
	$(with_brokers); \
	cargo test --release --lib --bins --tests -- --include-ignored; \
	cargo test --release --doc

N ?= 1000
torture: ## kill -9 the bridge N=1000 times under load (TORTURE_SEED=... repeats the decisions of a run)
	$(brokers)/install.sh
	$(with_brokers); \
	TORTURE_CYCLES=$(N) cargo test --release --test it -- torture:: --include-ignored --nocapture

bench: ## run the benchmarks, with the same brokers
	$(brokers)/install.sh
	$(with_brokers); cargo bench

# The advisories come from a repository on the net; where that cannot be had, the rest
# of the check must not be lost with it, and the gap is said.
lint: ## check formatting, clippy and, where cargo-deny is installed, the dependencies
	cargo fmt --check
	cargo clippy --all-targets --release -- -D warnings
	@if ! cargo deny --version >/dev/null 2>&1; then \
		echo "lint: cargo-deny is not installed: dependencies NOT checked (cargo install cargo-deny --locked)"; \
	elif timeout 120 cargo deny fetch db </dev/null >/dev/null 2>&1; then \
		cargo deny check; \
	else \
		cargo deny check bans licenses sources; \
		echo "lint: the advisory database cannot be fetched here: advisories NOT checked"; \
	fi

brokers-up: ## start Kafka, RabbitMQ and PostgreSQL for the tests
	@$(brokers_up)
	@$(brokers)/kafka.sh env
	@$(brokers)/rabbitmq.sh env
	@$(brokers)/postgres.sh env

brokers-down: ## stop them; their data stays
	@$(brokers_down)

# By way of second files, as a failed run would leave empty ones behind.
schemas: ## write the JSON schema of the pipeline file, and the reference of its keys
	mkdir -p schemas docs
	cargo run --release -- schema > schemas/pipeline.schema.json.new
	cargo run --release -- schema --format markdown > docs/reference.md.new
	mv schemas/pipeline.schema.json.new schemas/pipeline.schema.json
	mv docs/reference.md.new docs/reference.md
