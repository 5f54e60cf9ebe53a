#!/bin/bash
# A kind cluster of one control plane and two workers, unless the one named by CLUSTER is
# there. Prints what it does; ends when nodes and DNS are ready.
#
#   PODS=routed|bridge           how pods are plugged in (cni.sh)
#   PROXY=iptables|nftables      kube-proxy's mode
#   IPS=ipv4|dual                addresses of pods, Services and nodes
. "$(dirname "$0")/env.sh"

command -v kind >/dev/null || {
  (cd "$HERE/kind" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags="-s -w" -o "$KIND_CACHE/bin/kind" sigs.k8s.io/kind)
  lap "kind"
}
command -v kubectl >/dev/null || fail "kubectl is missing (https://kubernetes.io/docs/tasks/tools)"

if inside kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; then
  say "using the cluster $CLUSTER, which is here"
  inside kind export kubeconfig --name "$CLUSTER" --kubeconfig "$KUBECONFIG" 2>/dev/null
  exit
fi
# As on the netns fabric, so that the documents' ranges mean the same.
pods=10.16.0.0/14 services=10.96.0.0/16
case ${IPS:-ipv4} in
ipv4) subnets=(--subnet 10.102.123.0/24) ;;
dual)
  pods+=,fd00:10:16::/48 services+=,fd00:10:96::/112
  subnets=(--subnet 10.102.123.0/24 --ipv6 --subnet fd00:102::/64)
  ;;
*) fail "IPS=$IPS: write ipv4 or dual" ;;
esac
image=$("$HERE/node-image.sh")
SECONDS_AT=$(date +%s%N)

# In a daemon of our own nothing else can be in the way, so that the nodes get the network
# of the documents (seed 002). kind uses the network called `kind` if there is one.
if [ -S "$RUN/docker.sock" ]; then
  six=$(docker network inspect -f '{{.EnableIPv6}}' kind 2>/dev/null || true)
  wanted=$([ "${IPS:-ipv4}" = dual ] && echo true || echo false)
  # One of a run with other addresses.
  [ -z "$six" ] || [ "$six" = "$wanted" ] || { docker network rm kind >/dev/null; six=; }
  [ -n "$six" ] || docker network create "${subnets[@]}" -o com.docker.network.driver.mtu=1500 kind >/dev/null
fi
log=$KIND_CACHE/log/cluster
inside kind create cluster --name "$CLUSTER" --image "$image" --kubeconfig "$KUBECONFIG" --retain --config=- >"$log" 2>&1 <<YAML || {
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  disableDefaultCNI: true
  ipFamily: ${IPS:-ipv4}
  kubeProxyMode: ${PROXY:-iptables}
  podSubnet: $pods
  serviceSubnet: $services
nodes:
- role: control-plane
- role: worker
- role: worker
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  failCgroupV1: false
YAML
  tail -20 "$log" >&2
  fail "kind create cluster failed; its log is $log, the nodes' logs: docker logs $CLUSTER-control-plane"
}
lap "kind create cluster"
"$HERE/cni.sh"
inside kubectl wait --for=condition=Ready nodes --all --timeout=120s >/dev/null
inside kubectl -n kube-system rollout status deployment/coredns daemonset/kube-proxy --timeout=120s >/dev/null
lap "pod network, nodes, DNS"
