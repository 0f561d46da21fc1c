# make run     build bin/tafe and serve the demo
# make test    all checks: build, vet, lint, tests, degraded runtime, race, handoff, short fuzz, the example, gRPC, bench module
# make help    the other targets

GO          ?= go
GOTEST      ?= GO='$(GO)' .ci/gotest
ARGS        ?=
# Run by pinned version: the linter is not a dependency of the server (docs/decisions/002).
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10m
FUZZSHORT   ?= 3s

.DEFAULT_GOAL := help
# Targets run in the order given, also with -j: the quick ones first, and a failure is the last output.
.NOTPARALLEL:
.PHONY: help run pebble build build-all test check vet lint unit degraded race handoff fuzz fuzz-short example bench-module grpc-module nethttp-module pebble-module bench bench-all tidy tidy-check fmt-check clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: build ## build and serve the demo (ARGS="--listen :8080" to change flags)
	exec bin/tafe serve $(ARGS)

# Authorities connect to the ports 80 and 443 of a name. Pebble finds every name on this machine.
pebble: ## run Pebble, an ACME server for trials (docs/edge.md); ARGS="-http-port 8080 -tls-port 8443" changes the ports
	@mkdir -p bin
	cd app/edge/internal/acme/pebble && $(GO) run . -dir $(CURDIR)/bin $(ARGS)

# tafe has assembly for amd64 and arm64. cgo would need a cross compiler.
arm64 = CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO)

build: ## build bin/tafe
	$(GO) build -o bin/tafe ./cmd/tafe

build-all: build ## build every package, for arm64 too
	$(GO) build ./...
	$(arm64) build ./...

test: ## all checks, about half an hour on two cores; prints the time of each step and the skipped tests; ends at the first failure
	@.ci/steps '$(MAKE)' build-all vet lint unit degraded race handoff fuzz-short example grpc-module nethttp-module bench-module pebble-module

check: fmt-check tidy-check test ## make test, gofmt and go mod tidy

vet: ## go vet, for amd64 and arm64
	$(GO) vet ./...
	$(arm64) vet ./...

lint: ## staticcheck, by pinned version
	$(GO) run $(STATICCHECK) ./...

# Allocation tests are built with !race, so only this target runs them. Wire tests and tests against real servers are ordinary
# tests: an absent server is a skip, and with CI=true a failure. The tests of the watchdog run alone: they distinguish code
# that holds a loop from threads without CPU, and tests of other packages would overload the machine. Those of cmd/tafe, the
# longest, begin first.
unit: ## unit, wire, real-server and allocation tests
	@$(GOTEST) $$($(GO) list ./cmd/... ./... | grep -v /loop/watchdog)
	@$(GOTEST) ./loop/watchdog/...

# Parts of the Go runtime that tafe reads beyond its API (docs/decisions/005) are forced off, each alone and then all. The watchdog does not use lock.
off = -X tafe/loop/internal/goruntime.off

degraded: ## tests of tasks and of the watchdog, with parts of the runtime's introspection forced off
	@$(GOTEST) -short -ldflags '$(off)=lock' -run 'Task|Park|Thread' ./loop
	@$(GOTEST) -short -ldflags '$(off)=lock' ./loop/internal/goruntime
	@$(GOTEST) -short -ldflags '$(off)=thread' ./loop/internal/goruntime ./loop/watchdog
	@$(GOTEST) -short -ldflags '$(off)=state' ./loop/internal/goruntime ./loop/watchdog
	@$(GOTEST) -short -ldflags '$(off)=lock,thread,state' -run 'Task|Park|Thread' ./loop
	@$(GOTEST) -short -ldflags '$(off)=lock,thread,state' ./loop/internal/goruntime ./loop/watchdog

# With twenty times the handoffs of a server, the race detector sees state that a loop shares with code beside it.
race: ## unit under the race detector, where loops are handed over after 0.1 ms
	@$(GOTEST) -race -ldflags '-X tafe/loop/internal/testmode.handoff=100us' ./cmd/... ./httpparse/... ./loop ./loop/looptest ./loop/reactor ./app/...
	@$(GOTEST) -race ./loop/watchdog/...

# The memory of views is overwritten after each handler, so that a test which keeps one fails (app/view.go).
handoff: ## unit with all user code beside its loop, and views of requests poisoned
	@$(GOTEST) -ldflags '-X tafe/loop/internal/testmode.handoff=always -X tafe/app/internal/poison.views=on' ./loop ./loop/looptest ./loop/reactor ./app/...

fuzz-short: ## every fuzz target for FUZZSHORT
	@GO='$(GO)' .ci/fuzz $(FUZZSHORT)

fuzz: ## every fuzz target for FUZZTIME
	@GO='$(GO)' .ci/fuzz $(FUZZTIME)

example: ## lint and test the application of docs/example, a module of its own, under the race detector
	cd docs/example && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	@cd docs/example && GO='$(GO)' ../../.ci/gotest -race ./...

bench-module: ## build, vet and test the nested module of the benchmarks; clients of databases and services, under the race detector
	cd bench && $(GO) build ./... && $(GO) vet ./... && $(GO) test $$($(GO) list ./... | grep -v /clients)
	@cd bench && GO='$(GO)' ../.ci/gotest -race ./clients

grpc-module: ## vet and test the nested module of gRPC: the interoperability tests of grpc-go through the proxy
	cd app/proxy/grpctest && $(GO) vet ./... && $(GO) mod tidy -diff
	@cd app/proxy/grpctest && GO='$(GO)' ../../../.ci/gotest -race ./...

nethttp-module: ## vet and test the nested module of middlewares of net/http around handlers: scs, chi, CrossOriginProtection
	cd app/middleware/nethttptest && $(GO) vet ./... && $(GO) mod tidy -diff
	@cd app/middleware/nethttptest && GO='$(GO)' ../../../.ci/gotest -race ./...

pebble-module: ## build and vet the nested module of Pebble, which tests of certificates use
	cd app/edge/internal/acme/pebble && $(GO) build -o /dev/null . && $(GO) vet ./... && $(GO) mod tidy -diff

bench: ## tafe beside net/http, some minutes
	cd bench && $(GO) run ./cmd/bench quick

bench-all: ## every peer and the seed experiment, with plots
	cd bench && $(GO) run ./cmd/bench all

tidy: ## go mod tidy in the modules: the nested ones follow the requirements of the server
	for module in . docs/example bench app/proxy/grpctest app/middleware/nethttptest; do (cd $$module && $(GO) mod tidy) || exit 1; done

tidy-check: ## go.mod and go.sum are tidy
	$(GO) mod tidy -diff
	cd docs/example && $(GO) mod tidy -diff

fmt-check: ## code is formatted by gofmt
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

clean: ## remove build output
	rm -rf bin
