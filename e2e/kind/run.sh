#!/bin/bash
# Everything: a cluster, Ringfence in it as people install it, cases, a report, and away with
# what was made. `make e2e`
#
#   run.sh [CASE...]        names or tags of cases; none: all
#   CLUSTER=name            use (and leave) this kind cluster, where it exists
#   KEEP=1                  leave everything as it is
#   OVERLAY=folder          what is installed, of manifests/overlays (default: kind, which is
#                           all of Ringfence; enforcer-only), with the images made here
#   PODS, PROXY, IPS, NODE_IMAGE  see cluster.sh, cni.sh, node-image.sh
#   WITHOUT_ENFORCER=1      install nothing: every case that denies must fail
#   IF_POSSIBLE=1           for CI: where this machine can make no cluster, say why and pass
. "$(dirname "$0")/env.sh"

OVERLAY=${OVERLAY:-kind}
OUT=${OUT:-$ROOT/.cache/images}
ours= given_up=
began=$(date +%s)

clean() {
  local code=$?
  trap - EXIT
  if [ -n "${KEEP:-}" ]; then
    say "kept: KUBECONFIG=$KUBECONFIG${DOCKER_HOST:+ DOCKER_HOST=$DOCKER_HOST}"
    [ ! -e "/run/netns/$OWN" ] || say "kept: enter with nsenter --net=/run/netns/$OWN; remove with CLUSTER=$CLUSTER e2e/kind/down.sh"
  elif [ -n "$ours" ]; then
    "$HERE/down.sh" || [ -n "$given_up" ] || code=1
    lap "cluster removed"
  else
    uninstall || code=1
  fi
  exit "$code"
}

install() {
  inside kubectl apply -k "$stage" >/dev/null
  local what
  for what in $(inside kubectl -n ringfence-system get deployments,daemonsets -o name); do
    inside kubectl -n ringfence-system rollout status "$what" --timeout=120s >/dev/null || explain "$what"
  done
}

# explain WORKLOAD: which pod is not ready, why, and where its log is.
explain() {
  say "$1 is not ready after two minutes:"
  inside kubectl -n ringfence-system get pods -o wide >&2
  local pod
  for pod in $(inside kubectl -n ringfence-system get pods -o json |
    jq -r '.items[] | select(any(.status.conditions[]?; .type == "Ready" and .status != "True")) | .metadata.name'); do
    inside kubectl -n ringfence-system get pod "$pod" -o json | jq -r '
      .status.containerStatuses[]? | select(.ready | not)
      | "  \(.name) (\(.image)): " + ([.state, .lastState] | map(.waiting? // .terminated? // empty) | map("\(.reason // "") \(.message // "")") | join("; "))' >&2
    say "  $pod says:"
    inside kubectl -n ringfence-system logs --tail=5 "$pod" 2>&1 | sed 's/^/    /' >&2 || true
    say "  all of it: kubectl -n ringfence-system logs $pod; kubectl -n ringfence-system describe pod $pod"
  done
  exit 2
}

uninstall() { [ -z "${stage:-}" ] || inside kubectl delete -k "$stage" --ignore-not-found --timeout=60s >/dev/null; }

# machine MINUTES COMMAND...: what depends on the machine, not on Ringfence. In CI whatever is
# wrong with the programs themselves has been said before this.
machine() {
  local log=$KIND_CACHE/log/machine minutes=$1 status why
  shift
  if ${IF_POSSIBLE:+timeout --kill-after=30 "${minutes}m"} "$@" 2>&1 | tee "$log" >&2; then return; fi
  status=${PIPESTATUS[0]}
  [ -n "${IF_POSSIBLE:-}" ] || exit 1
  # The last words, other than how long a step took.
  why=$(grep -vE '^$|[0-9]\.[0-9] s$' "$log" | tail -1 | sed 's/^kind: //')
  [ "$status" -ne 124 ] || why="${1##*/} takes more than $minutes minutes here"
  echo "kind: NOT RUN, this machine cannot make what it takes: ${why:-no reason was given}"
  echo "0 passed, 0 failed, 1 skipped"
  given_up=1
  exit 0
}

machine 3 "$ROOT/scripts/setup.sh" kind
machine 1 "$HERE/docker.sh" start
[ ! -S "$RUN/docker.sock" ] || export DOCKER_HOST=unix://$RUN/docker.sock
trap clean EXIT
inside kind get clusters 2>/dev/null | grep -qx "$CLUSTER" || ours=1
machine 10 "$HERE/cluster.sh"
IMAGES="enforcer probe"
[ "$OVERLAY" = enforcer-only ] || IMAGES="webhook controller $IMAGES"
export IMAGES OUT PROFILE=${PROFILE:-dev}
machine 11 "$ROOT/images/build.sh"

SECONDS_AT=$(date +%s%N)
for image in $IMAGES; do
  # A node that has the image already is left alone.
  id=$(docker image inspect -f '{{.Id}}' "ringfence/$image:dev")
  [ "$(cat "$KIND_CACHE/loaded-$CLUSTER-$image" 2>/dev/null)" != "$id$(docker inspect -f '{{.Id}}' "$CLUSTER-control-plane")" ] || continue
  inside kind load image-archive "$OUT/$image.tar" --name "$CLUSTER" >"$KIND_CACHE/log/load" 2>&1 || { cat "$KIND_CACHE/log/load" >&2; exit 2; }
  echo "$id$(docker inspect -f '{{.Id}}' "$CLUSTER-control-plane")" >"$KIND_CACHE/loaded-$CLUSTER-$image"
done
lap "images loaded"

# The overlay with the images that were just made.
stage=
if [ -z "${WITHOUT_ENFORCER:-}" ]; then
  stage=$KIND_CACHE/install; mkdir -p "$stage"
  cat >"$stage/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [$(realpath --relative-to="$stage" "$ROOT/manifests/overlays/$OVERLAY")]
images:
- {name: ringfence/webhook, newTag: dev}
- {name: ringfence/controller, newTag: dev}
- {name: ringfence/enforcer, newTag: dev}
# Pods of an earlier run are replaced where the images are others: their names are the same.
commonAnnotations: {e2e.ringfence.dev/images: "$(docker image inspect -f '{{.Id}}' $(printf 'ringfence/%s:dev ' $IMAGES) | sha256sum | cut -c1-16)"}
# What the answers in cases were recorded with.
patches:
- target: {kind: ConfigMap, name: ringfence-webhook}
  patch: |
    - {op: replace, path: /data/config.yaml, value: "monitoring: {namespaces: [monitoring]}"}
YAML
  install
  lap "Ringfence ready"
fi

code=0
inside "$OUT/ringfence-e2e" run --fabric kind --kubeconfig "$KUBECONFIG" --pods "${PODS:-routed}" \
  ${KEEP:+--keep-pods} ${REPORT:+--report "$REPORT"} "$@" || code=$?
lap "cases"
say "$(($(date +%s) - began)) s in all"
exit "$code"
