# Everything that a person or the CI runs. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The release by its tag and the commits since; before the first tag, the commit.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || \
	{ commit=$$(git describe --always --exclude '*' --dirty 2>/dev/null) && echo "v0.0.0-dev+$$commit"; } || \
	echo v0.0.0-dev)

# VCS stamping is off because VERSION says it already, and because git may
# refuse a checkout that belongs to somebody else.
GOBUILD := go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION) -X github.com/wringdb/wring/sdk.buildVersion=$(VERSION)'

# Passed to every `go test`: make test TESTFLAGS='-run TestDecide -v'
TESTFLAGS ?=

# Modules that are written against this one; each is tested as its author would.
EXAMPLES := $(patsubst %/,%,$(dir $(wildcard examples/*/go.mod)))
# Programs that measure, with dependencies that nothing else should have.
BENCHES := $(patsubst %/,%,$(dir $(wildcard bench/*/go.mod)))
# Rules and dashboards, tested with the libraries of those who read them.
RULES := $(patsubst %/,%,$(dir $(wildcard docs/*/go.mod)))
MODULES := $(EXAMPLES) $(BENCHES) $(RULES) .
# Tested on its own: it takes a browser.
BROWSER := test/browser

BUF := go tool -modfile=tools/buf/go.mod buf
# Absolute, because the linter runs in the directory of each module.
LINT := go tool -modfile=$(CURDIR)/tools/lint/go.mod golangci-lint

# in_modules runs $(1) in each of MODULES, all of them even if one fails.
define in_modules
status=0; \
for module in $(MODULES); do \
	(cd "$$module" && $(1)) || status=1; \
done; \
exit $$status
endef

##@ Build and run

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build wring and its plugins into bin/
	$(GOBUILD) -o bin/wring ./cmd/host
	$(GOBUILD) -o bin/wring-plugin-bolt ./plugins/bolt/cmd/wring-plugin-bolt
	$(GOBUILD) -o bin/wring-plugin-pebble ./plugins/pebble/cmd/wring-plugin-pebble

.PHONY: demo
demo: build ## compact a bbolt and a Pebble store with the real host
	bash internal/demo/run.sh

.PHONY: demo-owner
demo-owner: ## compact the store of a service that is under load, and watch its latency
	@$(MAKE) -C examples/owner-app --no-print-directory demo

.PHONY: generate
generate: ## write the code that the protocol gives, and the description of the admin interface
	$(BUF) generate
	go test -count=1 -run '^TestOpenAPIIsCommitted$$' ./core/api -update

.PHONY: dashboard
dashboard: ## build the dashboard that wring embeds, after a change in core/dashboard/web
	cd core/dashboard/web && npm ci --ignore-scripts && npm run build

.PHONY: clean
clean: ## remove what build, demo and benchmarks leave
	rm -rf bin dist demo bench/out coverage.out examples/owner-app/bin

##@ Test

.PHONY: test
test: ## run the tests of this module, the examples and the benchmarks
	@$(call in_modules,go test $(TESTFLAGS) ./...)

.PHONY: test-browser
test-browser: ## look at the dashboard with chromium, on a real host; screenshots go to bench/out/screenshots
	$(BROWSER)/chromium.sh
	cd $(BROWSER) && go test -count=1 $(TESTFLAGS) ./...

# Where the campaign's randomness begins: make torture-bolt SEED=7
SEED ?= 1

.PHONY: torture-bolt
torture-bolt: build ## kill, starve and cut the power of bolt compactions; a slice of it is in make test
	go test -count=1 -timeout 60m -v -run '^TestTorture$$' ./plugins/bolt -torture.whole -torture.seed $(SEED)

.PHONY: torture-live
torture-live: ## kill, starve and interrupt applications whose bolt stores are compacted while in use; a slice of it is in make test
	go test -count=1 -timeout 60m -v -run '^TestTorture$$' ./plugins/bolt/live -torture.whole -torture.seed $(SEED)

# The name of a single case, as a failure says it: make torture-pebble ONLY='fault: EIO/held, 7'
ONLY ?=

.PHONY: torture-pebble
torture-pebble: ## kill, starve and cut the power of Pebble compactions; a slice of it is in make test
	go test -count=1 -timeout 60m -v -run '^TestTorture$$' ./plugins/pebble -torture.whole -torture.seed $(SEED) -torture.only '$(ONLY)'

.PHONY: model-live
model-live: ## hold bolt stores that are compacted all the time against a model, ten thousand times; a tenth of it is in make test
	go test -count=1 -timeout 60m -v -run '^TestModel$$' ./plugins/bolt/live -rapid.checks 1000

# How long each target is fuzzed: make fuzz-bolt FUZZTIME=5m
FUZZTIME ?= 1m

# The fuzzer may report its own time limit as a failure. An input that fails is
# kept under testdata, and fails again.
.PHONY: fuzz-bolt
fuzz-bolt: ## fuzz everything that reads a bbolt file
	for target in page:FuzzReadMeta page:FuzzNode walk:FuzzWalk audit:FuzzAudit punch:FuzzFree diff:FuzzBetween probe:FuzzMeasure replace:FuzzParseMark; do \
		go test ./plugins/bolt/internal/$${target%%:*} -run '^$$' -fuzz "^$${target##*:}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x || \
		go test ./plugins/bolt/internal/$${target%%:*} -run "^$${target##*:}$$" || exit 1; \
	done

##@ Measure

# Passed to the benchmark: make bench-bolt BENCHFLAGS='-quick' (or -help)
BENCHFLAGS ?=

.PHONY: bench-bolt
bench-bolt: ## measure the bolt backend beside bbolt and etcdutl
	cd bench/bolt && go build -o ../out/bin/bench . && ../out/bin/bench $(BENCHFLAGS)

.PHONY: bench-etcd
bench-etcd: ## a real etcd starts on what wring compacted, and its hash is the same
	cd bench/bolt && go test -tags etcd -count=1 -v -run TestEtcd .

.PHONY: bench-live
bench-live: ## measure reads and writes of a bolt store that is compacted in use, and what a difference costs
	cd bench/live && go build -o ../out/bin/bench-live . && ../out/bin/bench-live $(BENCHFLAGS)
	go test -run '^$$' -bench '^BenchmarkBetween$$' -benchtime 0.3s ./plugins/bolt/internal/diff | tee bench/out/live-difference.txt

.PHONY: bench-pebble
bench-pebble: ## measure the Pebble backend beside DB.Compact, and hold what it foretells against what comes back
	cd bench/pebble && go build -o ../out/bin/bench-pebble . && ../out/bin/bench-pebble $(BENCHFLAGS)

.PHONY: bench-status
bench-status: ## measure how long a host with a thousand stores takes to answer
	go test -run '^$$' -bench '^BenchmarkThousandStores$$' ./core/daemon

.PHONY: predict-bolt
predict-bolt: ## hold what a sample foretells of a bbolt file against what comes back
	WRING_BOLT_TEST_LARGE=1 go test -count=1 -v -timeout 60m -run TestPrediction ./plugins/bolt

##@ Check

.PHONY: check
check: check-format check-modules check-imports check-proto check-generated check-dashboard check-vet check-lint check-race ## run all checks below

.PHONY: check-format
check-format: ## Go and protocol files are formatted
	@files=$$(find . -name '*.go' -not -path '*/testdata/*' -not -path '*/node_modules/*' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$files" ]; then \
		echo "not formatted (gofmt -w):"; echo "$$files"; exit 1; \
	fi
	$(BUF) format --diff --exit-code

.PHONY: check-modules
check-modules: ## go.mod and go.sum are tidy
	@$(call in_modules,go mod tidy -diff)

.PHONY: check-imports
check-imports: ## import rules, reviewed dependencies, package comments, file sizes
	go test -count=1 ./internal/habits

.PHONY: check-proto
check-proto: check-proto-lint check-proto-breaking ## the protocol is well formed and only grows

.PHONY: check-proto-lint
check-proto-lint:
	$(BUF) lint

.PHONY: check-proto-breaking
check-proto-breaking:
	@tools/buf/breaking.sh

.PHONY: check-generated
check-generated: ## generated code is up to date
	@tools/buf/generated.sh

.PHONY: check-dashboard
check-dashboard: ## the embedded dashboard is what its sources give, and their tests pass
	@core/dashboard/check.sh

check-modules check-vet check-lint: MODULES += $(BROWSER)

.PHONY: check-vet
check-vet: ## go vet on this system, and vet and build for macOS
	@$(call in_modules,go vet ./...)
	cd bench/bolt && go vet -tags etcd ./...
	GOOS=darwin GOARCH=arm64 go vet ./...
	GOOS=darwin GOARCH=arm64 go build -buildvcs=false ./...

.PHONY: check-lint
check-lint: ## golangci-lint
	@$(call in_modules,$(LINT) run ./...)

.PHONY: check-race
check-race: ## the tests under the race detector
	go test -race -timeout 30m $(TESTFLAGS) ./...
