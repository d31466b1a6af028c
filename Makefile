# ckptd. `make` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
BIN := $(CURDIR)/bin
# Google's client speaks gRPC, too, and links Envoy's control plane for it; ckptd uses neither. Without them the binary has 19 MB less.
export GOFLAGS := $(GOFLAGS) -tags=disable_grpc_modules
# Each process with the race detector waits at its end for races that are being found, by default a second; the tests start hundreds.
RACE := GORACE=atexit_sleep_ms=50

.DEFAULT_GOAL := help
.PHONY: help build servers test quick search nightly bench bench-long fuzz generate lint linters mutate tools coverage-of-flink

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-17s %s\n", $$1, $$2}'

build: ## build bin/ckptd
	$(GO) build -o $(BIN)/ckptd ./cmd/ckptd

quick: ## the fast suite: what `go test ./...` runs; of the S3 servers only versitygw and gofakes3, which it builds at first
	$(GO) vet ./...
	$(GO) test ./...

test: servers lint ## lint, then all tests, with the race detector, more seeds, and what needs privileges; what CI runs
	@scripts/install-packages
	@scripts/privileges
	$(GO) test ./service/owner
	$(RACE) CKPTD_TEST_FULL=1 $(shell scripts/privileges -q && echo CKPTD_PRIVILEGED=1) $(GO) test -race -timeout 20m ./...

search: ## search the owner's machines with the larger bounds: up to half an hour, 8 GB
	CKPTD_SEARCH=1 $(GO) test ./service/owner -run '(TestSearchDeep|TestFamiliesDeep)$$' -timeout 60m -v

nightly: test search fuzz ## everything, the long runs too: one to two hours on two cores
	@scripts/install-packages nightly
	CKPTD_NIGHTLY=1 CKPTD_TEST_FULL=1 $(shell scripts/privileges -q && echo CKPTD_PRIVILEGED=1) $(GO) test -p 1 -timeout 60m ./...

coverage-of-flink: ## run the tests that show Flink's behaviours, and print each with its subtest, or why none can show it
	$(GO) run ./conformance/coverage/cmd -run

bench: servers build ## every benchmark beside its limit, in less than ten minutes, and the tables of docs/benchmarks.md
	cd conformance/servers/s5cmd && $(GO) build -mod=readonly -ldflags='-s -w' -o $(BIN)/s5cmd github.com/peak/s5cmd/v2
	$(GO) run ./conformance/bench

# LONG: arguments of manyjobs; PARTS: the sizes of the other parts. 0 leaves a part out.
bench-long: build ## what `make bench` cannot hold: many jobs, a million files, restic, kopia; an hour; LONG='-for 2m' PARTS='-mb 200' for less
	cd conformance/servers/s5cmd && $(GO) build -mod=readonly -ldflags='-s -w' -o $(BIN)/s5cmd github.com/peak/s5cmd/v2
	cd conformance/servers/restic && $(GO) build -mod=readonly -ldflags='-s -w' -o $(BIN)/restic github.com/restic/restic/cmd/restic
	cd conformance/servers/kopia && $(GO) build -mod=readonly -ldflags='-s -w' -o $(BIN)/kopia github.com/kopia/kopia
	$(GO) run ./conformance/bench -long $(PARTS) -- -root $(BIN) $(LONG)

fuzz: ## each fuzz target for half a minute
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime 30s $$pkg; \
	  done; \
	done

# BASE: a commit; ALL=1: every file; AGAIN=1: only the survivors of the last run; PKG: packages, with commas between them; MINUTES: when to stop.
BASE ?= origin/main
MINUTES ?= 60
mutate: ## change the pure packages in one place at a time: do the tests notice? Files that differ from BASE, or ALL=1 (docs/testing.md)
	cd tools/mutate && $(GO) test . && $(GO) build -o $(BIN)/ . github.com/go-gremlins/gremlins/cmd/gremlins
	$(BIN)/mutate -gremlins $(BIN)/gremlins -base $(BASE) $(if $(ALL),-all) $(if $(AGAIN),-again) -only '$(PKG)' -minutes $(MINUTES)

servers: ## build the servers that tests start (versitygw, MinIO, gofakes3, fake-gcs-server, toxiproxy) into bin/, from modules of their own, and fetch Hadoop and Kafka
	@set -e; while read -r name package; do \
	  (cd conformance/servers/$$name && $(GO) build -mod=readonly -ldflags='-s -w' -o $(BIN)/$$name $$package); \
	done < conformance/servers/packages
	@scripts/install-packages
	@scripts/jars hadoop kafka

tools: ## build buf and the generators into bin/
	cd tools && $(GO) build -o $(BIN)/ github.com/bufbuild/buf/cmd/buf google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go

linters: ## build staticcheck and deadcode into bin/
	cd tools && $(GO) build -o $(BIN)/ honnef.co/go/tools/cmd/staticcheck golang.org/x/tools/cmd/deadcode

generate: tools ## lint the definitions below proto/, and regenerate the code
	PATH="$(BIN):$$PATH" buf lint
	PATH="$(BIN):$$PATH" buf generate

lint: linters ## gofmt, go vet, staticcheck, code that nobody calls (tests count as callers); less than a minute when nothing changed
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) vet ./...
	$(BIN)/staticcheck ./...
	@test -z "$$($(BIN)/deadcode -test ./... | tee /dev/stderr)"
