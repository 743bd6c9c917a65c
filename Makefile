# Everything runs from a clean clone with Go, and Java 17 and Maven for HDFS: servers and tools are built or downloaded into .cache.
# Without Java: make test SERVERS=s3.

STATICCHECK_VERSION := v0.8.2
STATICCHECK := .cache/bin/staticcheck-$(STATICCHECK_VERSION)
TESTENV := .cache/bin/forst-testenv
SERVERS := s3 hdfs
TEST_TIMEOUT ?= 30m
FUZZTIME ?= 30s
NIGHTLY_FUZZ ?= 1m
NIGHTLY_DEMOS ?= 5
# RACE=1 puts the suites in containers under the race detector.
RACE_FLAG := $(if $(RACE),-race)

.PHONY: all build test test-race test-nightly test-containers test-containers-s3 test-containers-hdfs demo bench compare fuzz lint servers clean

all: build lint test

build:
	go build ./...

# Starts the servers once, runs all tests against them, stops them and removes their data, also after Ctrl-C.
test: $(TESTENV)
	$(TESTENV) run $(SERVERS) -- go test -p 2 -timeout $(TEST_TIMEOUT) ./...

test-race: $(TESTENV)
	$(TESTENV) run $(SERVERS) -- go test -race -short -p 2 -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -v '/bench$$')

# The long versions of the random tests, then NIGHTLY_DEMOS rounds of demos, then each fuzz function for NIGHTLY_FUZZ; hours, not minutes
# (docs/testing.md, The nightly run). Every failure prints the seed that repeats it.
test-nightly: $(TESTENV)
	FORST_NIGHTLY=1 $(TESTENV) run $(SERVERS) -- go test -count 1 -p 2 -timeout 12h ./...
	$(TESTENV) run $(SERVERS) -- tools/demos $(NIGHTLY_DEMOS)
	tools/fuzz $(NIGHTLY_FUZZ)

# Kills a database again and again, on a local directory and on the S3 test server; DEMOS=n times.
demo: $(TESTENV)
	$(TESTENV) run $(SERVERS) -- tools/demos $(or $(DEMOS),1)

# The suites against MinIO in a container, and against HDFS in containers whose nodes are killed, on any engine that the docker program reaches (docs/testing.md, Containers).
test-containers: test-containers-s3 test-containers-hdfs

test-containers-s3: $(TESTENV)
	$(TESTENV) run s3-container -- go test $(RACE_FLAG) -v -count 1 -p 1 -timeout $(TEST_TIMEOUT) -run 'S3$$|^TestStore$$|^TestContainer' \
		./internal/testenv ./forstfs/s3 ./conformance ./cmd/forst

test-containers-hdfs: $(TESTENV)
	$(TESTENV) run hdfs-container -- go test $(RACE_FLAG) -v -count 1 -p 1 -timeout $(TEST_TIMEOUT) -run 'HDFS$$' \
		./forstfs/hdfs ./conformance ./cmd/forst

# BENCH=regexp chooses; pass two outputs to benchstat to compare.
bench: $(TESTENV)
	$(TESTENV) run $(SERVERS) -- go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -p 1 -timeout 6h ./...

# Hit ratios beside other caches, whose modules are in no build of forst's.
compare:
	cd bench/compare && go test -v -count 1 -timeout 30m .

fuzz:
	tools/fuzz $(FUZZTIME)

lint: $(STATICCHECK)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	$(STATICCHECK) ./...

servers: $(TESTENV)
	$(TESTENV) build $(SERVERS)

# Always rebuilt; Go's cache makes that cheap.
.PHONY: $(TESTENV)
$(TESTENV):
	go build -o $@ ./internal/testenv/cmd/forst-testenv

$(STATICCHECK):
	mkdir -p .cache/tools
	GOBIN=$(CURDIR)/.cache/tools GOFLAGS= go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	mkdir -p .cache/bin
	mv .cache/tools/staticcheck $@

clean:
	rm -rf .cache
