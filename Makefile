# make run     build bin/tafe and serve the demo
# make test    everything that must pass: build, vet, lint, tests, degraded runtime, race, handoff, short fuzz, bench module
# make help    the other targets

GO          ?= go
GOTEST      ?= GO='$(GO)' .ci/gotest
ARGS        ?=
# Run by pinned version: a linter is a tool of ours, not a dependency of the server.
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10m
FUZZSHORT   ?= 3s

.DEFAULT_GOAL := help
# In the order written, with -j too: the quick ones first, and a failure is the last thing on the screen.
.NOTPARALLEL:
.PHONY: help run build build-all test check vet lint unit degraded race handoff fuzz fuzz-short bench-module bench bench-all tidy-check fmt-check clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: build ## build and serve the demo (ARGS="--listen :8080" to change flags)
	exec bin/tafe serve $(ARGS)

# The two architectures that have the assembly; cgo would need a cross compiler.
arm64 = CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO)

build: ## build bin/tafe
	$(GO) build -o bin/tafe ./cmd/tafe

build-all: build ## build every package, for arm64 too
	$(GO) build ./...
	$(arm64) build ./...

test: ## the whole test command, some fifteen minutes on two cores; prints how long each step took and what was skipped; ends at the first failure
	@.ci/steps '$(MAKE)' build-all vet lint unit degraded race handoff fuzz-short bench-module

check: fmt-check tidy-check test ## make test, and go.mod and formatting are as the tools would leave them

vet: ## go vet, for amd64 and arm64
	$(GO) vet ./...
	$(arm64) vet ./...

lint: ## staticcheck, by pinned version
	$(GO) run $(STATICCHECK) ./...

# Allocation tests are built with !race, so this run is the one that holds them. Wire tests and tests
# against real servers are ordinary tests: a server that is absent is a skip, and with CI=true a failure.
# The watchdog's own come by themselves: they tell code that holds a loop from threads that get no CPU, and beside packages
# that overload the machine there is nothing but the latter.
unit: ## unit, wire, real-server and allocation tests
	@$(GOTEST) $$($(GO) list ./... | grep -v /loop/watchdog)
	@$(GOTEST) ./loop/watchdog/...

# What tafe reads of the Go runtime beyond its API (docs/decisions/005): each part forced off, then all. The watchdog does not use lock.
off = -X tafe/loop/internal/goruntime.off

degraded: ## tests of tasks and of the watchdog with parts of what they read of the Go runtime forced off
	@$(GOTEST) -short -ldflags '$(off)=lock' -run 'Task|Park|Thread' ./loop
	@$(GOTEST) -short -ldflags '$(off)=lock' ./loop/internal/goruntime
	@$(GOTEST) -short -ldflags '$(off)=thread' ./loop/internal/goruntime ./loop/watchdog
	@$(GOTEST) -short -ldflags '$(off)=state' ./loop/internal/goruntime ./loop/watchdog
	@$(GOTEST) -short -ldflags '$(off)=lock,thread,state' -run 'Task|Park|Thread' ./loop
	@$(GOTEST) -short -ldflags '$(off)=lock,thread,state' ./loop/internal/goruntime ./loop/watchdog

# Twenty times as many handoffs as a server makes: what is shared between a loop and the code beside it is seen by the race detector.
race: ## unit under the race detector, where loops are handed over after 0.1 ms
	@$(GOTEST) -race -ldflags '-X tafe/loop/internal/testmode.handoff=100us' ./loop ./loop/looptest ./loop/reactor ./app/...
	@$(GOTEST) -race ./httpparse/... ./cmd/...
	@$(GOTEST) -race ./loop/watchdog/...

handoff: ## unit with all user code beside its loop
	@$(GOTEST) -ldflags '-X tafe/loop/internal/testmode.handoff=always' ./loop ./loop/looptest ./loop/reactor ./app/...

fuzz-short: ## every fuzz target for FUZZSHORT
	@GO='$(GO)' .ci/fuzz $(FUZZSHORT)

fuzz: ## every fuzz target for FUZZTIME
	@GO='$(GO)' .ci/fuzz $(FUZZTIME)

bench-module: ## build, vet and test the nested module of the benchmarks
	cd bench && $(GO) build ./... && $(GO) vet ./... && $(GO) test ./...

bench: ## tafe beside net/http, some minutes
	cd bench && $(GO) run ./cmd/bench quick

bench-all: ## every peer and the seed experiment, with plots
	cd bench && $(GO) run ./cmd/bench all

tidy-check: ## go.mod and go.sum are tidy
	$(GO) mod tidy -diff

fmt-check: ## gofmt would change nothing
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

clean: ## remove what make built
	rm -rf bin
