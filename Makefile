# The verbs. Each installs what it needs first; `make help` says what there is.
SHELL := bash
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## a database with 28,298 airports and the gateway, until Ctrl-C (DATABASE_URL=… for your own)
	@scripts/run.sh

demo: ## watch two offline clients and plain SQL come to agree
	@scripts/demo.sh

test: ## every suite
	@scripts/test.sh

check: ## formatting, lints and the tests that need no Postgres
	@scripts/test.sh fmt clippy unit

regress: ## the SQL tests
	@scripts/test.sh install regress

isolation: ## the tests with two or three sessions
	@scripts/test.sh install isolation

ops: ## the tests of dumps, standbys and upgrades
	@scripts/test.sh install ops

e2e: ## the tests through HTTP
	@scripts/test.sh install e2e

couch: ## the tests with PouchDB, RxDB, nano and a browser
	@scripts/test.sh install couch

apps: ## the tests of existing apps, on plain and on tracked tables
	@scripts/test.sh install apps

parsers: ## fuzz what reads outside input (SECONDS=600 for longer)
	@scripts/setup.sh test && scripts/parsers.sh $(or $(SECONDS),60)

torture: ## the change stream under kill -9 and promotion (SECONDS=3600 for an hour)
	@scripts/test.sh install && scripts/torture.sh $(or $(SECONDS),60)

bench: ## what Godwit costs against what else there is, half an hour (OPTIONS="--only bulk", "--quick", …)
	@bench/run.sh $(OPTIONS)

setup: ## install what is missing on Debian or Ubuntu
	@scripts/setup.sh test

install: ## build the extension and the gateway, install the extension
	@scripts/install.sh

clean: ## remove what was built and the private clusters
	@rm -rf target

.PHONY: help run demo test check regress isolation ops e2e couch apps parsers torture bench setup install clean
