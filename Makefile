# Ringfence. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Where `make e2e` runs its cases. kind: a kind cluster, made here (CLUSTER=name uses one, KEEP=1
# leaves it); kubeconfig: the cluster that KUBECONFIG leads to, with Ringfence in it; netns:
# network namespaces of this machine, with a real control plane when Go is here.
FABRIC ?= kind
# How the cases' objects reach the enforcer: apiserver (real control plane) or folder.
OBJECTS ?= apiserver
# Names or tags of cases; empty: all.
CASE ?=
# Where the control plane's programs are built to, and kept.
CONTROLPLANE ?= .cache/controlplane
# Where `make certs` writes, and an address by which the webhook is reached besides its
# Service (optional).
CERTS ?= certs/out
ADDRESS ?=
# A kube-router binary to measure beside ours in `make bench` (optional).
KUBE_ROUTER ?=
# Which benchmarks: scale churn packets service isolation; empty: all.
BENCH ?=

E2E := ./target/debug/ringfence-e2e

.PHONY: help
help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## install iptables, ipset, nftables, conntrack, iproute2 where missing
	@scripts/setup.sh net

# Only CI must have one: elsewhere the test of the report's page says that it did not run.
.PHONY: browser
browser:
	@scripts/setup.sh browser

.PHONY: build
build: ## all binaries, for development
	cargo build --workspace

.PHONY: demo
demo: setup build ## two nodes, a shop, its policies: who could reach whom, before and after
	@$(E2E) demo

# The generated cases (some 240) are left to `make e2e`: this is to end within five minutes.
.PHONY: test
test: setup build $(if $(CI),browser) ## unit, property and integration tests, and packets on namespaces (CASE=...)
	@scripts/test.sh $(CASE)

.PHONY: controlplane
controlplane: ## build kube-apiserver, etcd, kube-controller-manager, kube-proxy (needs Go)
	@e2e/controlplane/build.sh $(CONTROLPLANE)

.PHONY: e2e
e2e: e2e-$(FABRIC) ## real packets, a matrix per case, a report (FABRIC=kind|kubeconfig|netns, CASE=...)

.PHONY: e2e-netns
e2e-netns: setup build $(if $(filter apiserver,$(OBJECTS)),controlplane)
	$(E2E) run --fabric netns --objects $(OBJECTS) --controlplane $(CONTROLPLANE) $(CASE)

.PHONY: e2e-kind
e2e-kind:
	@e2e/kind/run.sh $(CASE)

# The cluster has the probe's image: `make images`, and load or push it (PROBE_IMAGE=name).
PROBE_IMAGE ?= ringfence/probe:dev
.PHONY: e2e-kubeconfig
e2e-kubeconfig: build
	$(E2E) run --fabric kubeconfig --probe-image $(PROBE_IMAGE) $(CASE)

.PHONY: images
images: ## images as archives in .cache/images: webhook, controller, enforcer, probe (BASE=image)
	@images/build.sh

.PHONY: bundle
bundle: ## image archives and one YAML per overlay, for clusters without internet (.cache/bundle)
	@images/bundle.sh

.PHONY: bench
bench: setup controlplane ## figures of docs/performance.md, on this machine (BENCH=..., KUBE_ROUTER=path measures it beside)
	@scripts/setup.sh bench
	cargo build --release --workspace
	cargo bench --workspace
	KUBE_ROUTER=$(KUBE_ROUTER) ./target/release/ringfence-e2e bench --controlplane $(CONTROLPLANE) $(BENCH)

.PHONY: certs
certs: ## a CA and a certificate for the webhook, for development (CERTS=folder, ADDRESS=...)
	@cargo run --quiet -p ringfence-certs -- --out $(CERTS) $(if $(ADDRESS),--address $(ADDRESS))

.PHONY: lint
lint: ## format, clippy, licences and sources of dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@scripts/setup.sh deny
	cargo deny check licenses bans sources

.PHONY: clean
clean: ## remove build output, reports and the control plane's programs
	@e2e/kind/down.sh
	rm -rf target report .cache
