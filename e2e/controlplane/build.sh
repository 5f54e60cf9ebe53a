#!/bin/sh
# Builds the programs of a Kubernetes control plane, for `make e2e FABRIC=netns`; and those of its
# nodes, for the node image of e2e/kind.
#
#   e2e/controlplane/build.sh [BINDIR] [nodes]     default: .cache/controlplane in the repository's root
#
# The versions are pinned in go.mod beside this file. Sources come through Go's own module proxy
# setting (GOPROXY); no image registry is needed. A cold build takes four minutes of two cores and
# 3 GB of Go's caches; when the programs are newer than go.mod nothing is done.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=${1:-$here/../../.cache/controlplane}
programs="etcd kube-apiserver kube-controller-manager kube-proxy kubectl coredns"
packages="go.etcd.io/etcd/server/v3
    k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager
    k8s.io/kubernetes/cmd/kube-proxy k8s.io/kubernetes/cmd/kubectl"
minutes=5
if [ "${2:-}" = nodes ]; then
    programs="$programs kubelet kubeadm kube-scheduler"
    packages="$packages k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kubeadm
        k8s.io/kubernetes/cmd/kube-scheduler"
    minutes=9
fi

current() {
    for program in $programs; do
        for source in go.mod go.sum build.sh coredns/go.mod coredns/main.go; do
            # -nt is false for a missing program as well.
            [ "$bin/$program" -nt "$here/$source" ] || return 1
        done
    done
}

if current; then
    exit 0
fi

if ! command -v go >/dev/null; then
    cat >&2 <<'MISSING'
The real control plane is built from source with Go, and `go` is not in PATH.
Install Go 1.26 or later (https://go.dev/dl), or run without it: `make demo` and `make test` need no Go.
MISSING
    exit 1
fi

mkdir -p "$bin"
bin=$(cd "$bin" && pwd)
# Built aside and renamed: an interrupted build leaves no half-written program, and a running one is
# not overwritten.
work=$(mktemp -d "$bin/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Without the stamp the programs call themselves v0.0.0-master, which clients refuse.
kubernetes=$(cd "$here" && go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${kubernetes#v1.}
version=k8s.io/component-base/version
ldflags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*} -X $version.gitTreeState=clean"

echo "Building etcd, Kubernetes $kubernetes and CoreDNS into $bin (about $minutes minutes, seconds when Go has them cached)" >&2
(cd "$here" && CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -ldflags="$ldflags" -o "$work/" $packages)

# A module of its own: it needs other versions of the same libraries.
(cd "$here/coredns" && CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -ldflags="-s -w" -o "$work/coredns" .)

# etcd's package is called `server`, and so is the file.
mv "$work/server" "$work/etcd"
for program in $programs; do
    touch "$work/$program"
    mv "$work/$program" "$bin/$program"
done
