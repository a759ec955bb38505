# Commands for people and for .ci/run. `make help` lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
NAMES   := github.com/seepnode/seepnode/node/seepnode
LDFLAGS := -s -w -X $(NAMES).version=$(VERSION) -X $(NAMES).commit=$(COMMIT)

# serf and memberlist report to the go-metrics of this name; without it they ask for another module.
TAGS    := hashicorpmetrics
export GOFLAGS := $(GOFLAGS) -tags=$(TAGS)

# Packages whose goroutines share memory: what `make race` runs.
RACE    := ./backup/... ./dataplane/... ./raftfsm/... ./node/agent/... ./node/api/... ./node/connector/... ./node/coordinator/... ./node/engine/... \
           ./node/relational/... ./node/seepnode/... ./node/table/... ./node/tail/... ./node/verify/... ./autoscale/...
FUZZTIME ?= 5s

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/seepnode, static, with version and commit inside
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/seepnode ./node/cmd/seepnode

# The seed of all properties' checks: make soak draws others.
export RAPID_SEED ?= 1

.PHONY: test
test: ## all tests (under 10 minutes)
	$(GO) test -timeout 20m ./...
	cd scripts/plots && $(GO) test ./...

.PHONY: test-short
test-short: ## the quick ones (under 90 s with a warm build cache)
	$(GO) test -short -timeout 3m ./...

.PHONY: test-net
test-net: ## real processes on hosts of their own whose network is cut (needs root, Linux and ip(8); some 5 minutes)
	SEEPNODE_NET=1 $(GO) test -timeout 30m -run 'Cuts|Network|Machines' -v ./scripts/cluster

.PHONY: package
package: build ## dist/: a Debian package and a tar with the program and its systemd service
	scripts/packaging/build.sh bin/seepnode dist

.PHONY: test-package
test-package: build ## the package, installed, upgraded and removed in a directory (needs dpkg)
	cd scripts/packaging && GOFLAGS= $(GO) test -timeout 10m ./...

.PHONY: terraform-test
terraform-test: ## the Terraform module, against a provider that is only imitated (TF_PLUGIN_DIR: where a copy of the aws provider is)
	scripts/terraform/test.sh

.PHONY: race
race: ## tests with the race detector, quick ones only (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short -timeout 35m $(RACE)

.PHONY: test-paranoid
test-paranoid: ## engine tests with all touched state encoded, dropped and decoded after every epoch
	SEEPNODE_PARANOID=1 $(GO) test -timeout 10m ./node/engine/... ./node/relational/... ./backup/state/...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (5s)
	@set -e; for package in $$($(GO) list ./...); do \
	  targets=$$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); \
	  for target in $$targets; do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

.PHONY: bench
bench: ## keyed counts against the roof, word count, many keys held
	$(GO) run ./scripts/bench

.PHONY: bench-recovery
bench-recovery: build ## real processes, killed again and again: time to the first result of what was lost
	$(GO) build -o bin/bench-recovery ./scripts/bench/recovery && bin/bench-recovery -program bin/seepnode

.PHONY: bench-latency
bench-latency: build ## four processes: from a row's creation to its being read from a table
	$(GO) build -o bin/bench-latency ./scripts/bench/latency && bin/bench-latency -program bin/seepnode

.PHONY: bench-elastic
bench-elastic: build ## the paper's experiments on a fleet of small computers, with charts; needs root (ARGS="-quick -only b,d")
	cd scripts/plots && $(GO) build -o ../../bin/plots .
	$(GO) build -o bin/bench-elastic ./scripts/bench/elastic && bin/bench-elastic -program bin/seepnode -plots bin/plots $(ARGS)

.PHONY: test-many
test-many: ## a thousand simulated nodes join, run a query, fail and are drained; prints what that costs each of them
	SEEPNODE_NODES=1000 $(GO) test -run AThousandNodes -v ./node/coordinator

.PHONY: soak
soak: ## identity under faults, SEEPNODE_ROUNDS (1000) schedules for each query, SEEPNODE_RUNS (10) on real processes, other draws of all properties
	SEEPNODE_ROUNDS=$${SEEPNODE_ROUNDS:-1000} $(GO) test -timeout 24h -run 'Faults|LostPartitions|Elasticity' ./node/engine ./node/agent
	SEEPNODE_RUNS=$${SEEPNODE_RUNS:-10} $(GO) test -timeout 2h -run AtRandom ./scripts/cluster
	env -u RAPID_SEED RAPID_CHECKS=$${RAPID_CHECKS:-2000} $(GO) test -count=1 -timeout 2h ./autoscale/... ./backup/... ./dataplane/... ./raftfsm ./node/connector/datagen

.PHONY: demo
demo: build ## the word count on five processes, two of which are killed with kill -9; every count is checked
	$(GO) build -o bin/demo ./scripts/demo && bin/demo -program bin/seepnode

.PHONY: demo-elastic
demo-elastic: build ## load rises, the pool has nodes join, one is killed, load falls, nodes leave; verified in the end; small computers as root
	$(GO) build -o bin/demo-elastic ./scripts/demo/elastic && bin/demo-elastic -program bin/seepnode

.PHONY: fmt
fmt: ## format all Go files
	gofmt -w -s .

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...
	cd scripts/plots && $(GO) vet ./...

.PHONY: lint
lint: vet ## go vet, and that all files are formatted
	@unformatted=$$(gofmt -l -s .); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi

.PHONY: clean
clean: ## remove bin
	rm -rf bin
