# Few verbs; `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test soak check lint bench dev fuzz tools up down test-swarm

GO        ?= go
FUZZTIME  ?= 20s
WORKERS   ?= 2
BENCH     ?= .
PKGS      ?= ./...
SOAK      ?= -kills 60 -crashes 10 -freezes 20 -outages 20
AS_WORKER := $(CURDIR)/scripts/as-worker

# The cache of the tools, as scripts/tools.sh and internal/tooltest know it.
CACHE := $(shell scripts/tools.sh --cache)
LINT   = $(CACHE)/$(shell scripts/tools.sh --folder golangci-lint)/bin/golangci-lint
MINIO  = $(CACHE)/$(shell scripts/tools.sh --folder minio)/bin/minio

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run a real job through a worker of its own, with Go and git alone
	@$(GO) run ./cmd/aicw demo

test: tools check ## install what is missing, check, and run every test against real parts
	GORACE=atexit_sleep_ms=0 $(GO) test -race -timeout 20m -exec $(AS_WORKER) $(PKGS)

soak: tools ## kill and freeze workers and MinIO at many random points of a job; SOAK="-kills 9 -seed 1" for others
	GORACE=atexit_sleep_ms=0 $(GO) test -race -count 1 -v -timeout 60m -parallel 4 -exec $(AS_WORKER) -run '^TestCampaign' ./cmd/worker $(SOAK)

check: lint ## format, go vet and the linters, without the tests
	@test -z "$$(gofmt -l .)" || { echo "not formatted (gofmt -w):"; gofmt -l .; exit 1; }
	$(GO) vet $(PKGS)

lint: tools ## the linters alone, of Go and of the shell scripts
	$(LINT) run $(PKGS)
	shellcheck -x $$(git grep -lI '^#!/bin/sh' -- ':!*.go')

bench: tools ## measure a worker as a whole, and the benchmarks of the packages
	$(GO) run ./bench -minio $(MINIO) $(if $(ROWS),-rows $(ROWS))
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -exec $(AS_WORKER) $(PKGS)

dev: ## run a worker with .env, and again after each job
	@scripts/dev

test-swarm: ## try the fleet on a real Swarm on this machine
	@scripts/test-swarm

up: ## run the fleet on this machine with Docker Compose, WORKERS (2) workers, http://localhost:5001
	@deploy/compose.sh up $(WORKERS)

down: ## stop it: busy workers end their jobs first, the sessions stay
	@deploy/compose.sh down

fuzz: ## run every fuzz target for FUZZTIME (20s)
	@scripts/fuzz $(FUZZTIME)

tools: ## install the tests' tools, pinned, into a cache outside the tree
	@scripts/tools.sh
