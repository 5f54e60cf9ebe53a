#!/bin/bash
# Removes the cluster and, where we started it, the Docker daemon. What is cached stays.
. "$(dirname "$0")/env.sh"
if docker version >/dev/null 2>&1 && command -v kind >/dev/null; then
  inside kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG" >"$KIND_CACHE/log/delete" 2>&1 ||
    { tail -3 "$KIND_CACHE/log/delete" >&2; fail "the cluster $CLUSTER could not be removed"; }
fi
"$HERE/docker.sh" stop
rm -f "$KUBECONFIG"
