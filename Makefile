# ckptd. `make` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
BIN := $(CURDIR)/bin

.DEFAULT_GOAL := help
.PHONY: help build test generate lint tools

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## build bin/ckptd
	$(GO) build -o $(BIN)/ckptd ./cmd/ckptd

test: ## all tests, with the race detector; what CI runs
	$(GO) vet ./...
	$(GO) test -race ./...

tools: ## build buf and the generators into bin/
	cd tools && $(GO) build -o $(BIN)/ github.com/bufbuild/buf/cmd/buf google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go

generate: tools ## regenerate the code below proto/
	PATH="$(BIN):$$PATH" buf generate

lint: tools ## buf lint, gofmt, go vet
	PATH="$(BIN):$$PATH" buf lint
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) vet ./...
