# Where everything is. Sourced by the other scripts.
#
# KIND_CACHE   what is kept between runs: programs, the node's root, images, the Docker
#              daemon's state (default: .cache/kind)
# CLUSTER      the kind cluster's name
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
KIND_CACHE=${KIND_CACHE:-$ROOT/.cache/kind}
CONTROLPLANE=${CONTROLPLANE:-$ROOT/.cache/controlplane}
CLUSTER=${CLUSTER:-ringfence}
mkdir -p "$KIND_CACHE/bin" "$KIND_CACHE/log"
KIND_CACHE=$(cd "$KIND_CACHE" && pwd)
export KUBECONFIG=$KIND_CACHE/kubeconfig-$CLUSTER
export PATH=$KIND_CACHE/bin:$CONTROLPLANE:$PATH:/usr/sbin:/sbin
# The classic builder: BuildKit is a plugin that a plain Docker does not have.
export DOCKER_BUILDKIT=0

# A Docker daemon of our own has its sockets here (short: a socket's path may have 108
# characters) and its network in a namespace; both are named after this checkout.
OWN=ringfence-$(printf %s "$ROOT" | cksum | cut -d' ' -f1)
RUN=/run/$OWN
[ ! -S "$RUN/docker.sock" ] || export DOCKER_HOST=unix://$RUN/docker.sock

# inside COMMAND...: where the cluster's addresses can be reached. `nsenter`, because `ip
# netns exec` would hide /sys/fs/cgroup.
inside() {
  if [ -e "/run/netns/$OWN" ]; then nsenter --net="/run/netns/$OWN" "$@"; else "$@"; fi
}

kubernetes_version() {
  awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ { print $2; exit }' "$ROOT/e2e/controlplane/go.mod"
}

# Whether the registry of published images answers. Any HTTP answer will do: it wants to know
# who asks.
registry_answers() {
  [ "$(curl -s -o /dev/null -m 5 -w '%{http_code}' https://registry-1.docker.io/v2/ || true)" = 401 ]
}

say() { printf 'kind: %s\n' "$*" >&2; }
fail() { printf 'kind: %s\n' "$*" >&2; exit 1; }

# lap WHAT: how long the last step took.
SECONDS_AT=$(date +%s%N)
lap() {
  local now; now=$(date +%s%N)
  printf 'kind: %-32s %6d.%01d s\n' "$1" $(((now - SECONDS_AT) / 1000000000)) $(((now - SECONDS_AT) / 100000000 % 10)) >&2
  SECONDS_AT=$now
}
