# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
HACK = .venv/bin/python -m hack
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo kind-demo test e2e check up down status node-up node-down bench image sbom crds manifests lock bootstrap clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do printf '%-10s %s\n' "$$name" "$$text"; done

demo: bootstrap ## set up all, run the samples on a stack of their own, show them, stop all
	@$(HACK) demo

kind-demo: bootstrap ## the same by the chart on a cluster of kind in docker; KEEP=1 keeps it
	@$(HACK) kind-demo

test: bootstrap ## set up all, run all tiers of tests; ARGS="-k word" goes to pytest
	@$(HACK) test $(ARGS)

e2e: bootstrap ## run the node tier alone, as root; ARGS="-k word" goes to pytest
	@$(HACK) e2e $(ARGS)

check: bootstrap ## formatter, linter, types, import contracts, dependencies, generated files
	@$(HACK) check

up: bootstrap ## start the local stack in the background; then: . .local/env
	@$(HACK) up

down: bootstrap ## stop the local stack and drop its data, also after a crash
	@$(HACK) down

status: bootstrap ## show what runs; exit 3 unless all of it does
	@$(HACK) status

node-up: bootstrap ## start a cluster of two nodes in the background, as root
	@.venv/bin/python -m hack.node up

node-down: bootstrap ## stop that cluster and drop its data; logs stay
	@.venv/bin/python -m hack.node down

bench: bootstrap ## benchmarks, as ratios to their limits; writes .local/bench.json
	@$(HACK) bench $(ARGS)

image: bootstrap ## build the operator's image into .local/images/, and PostgreSQL's for the node tier (as root)
	@$(HACK) image

sbom: bootstrap ## write what the image is made of to .local/sbom.cdx.json (CycloneDX)
	@$(HACK) sbom

crds: bootstrap ## regenerate crds/ from the models
	@.venv/bin/python -m ipam_operator.api.crd

manifests: bootstrap ## render manifests/install and what else is generated from or for the chart
	@.venv/bin/python -m hack.render

lock: bootstrap ## pin the newest requirements again, with their hashes (needs uv)
	@hack/lock.sh

bootstrap:
	@$(PYTHON) hack/bootstrap.py

clean: ## remove the virtual environment and the stack's files (after make down)
	@rm -rf .venv .local
