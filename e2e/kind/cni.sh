#!/bin/bash
# The pod network: one configuration for each node from its pod range, and routes to the
# others'. It carries packets and knows nothing of policies, other than kind's own kindnet,
# which has enforced them since 2024: a deny would hold without us.
#
#   PODS=routed    pods behind host routes (the default)
#   PODS=bridge    pods on one bridge: packets between two of them never reach a router
#
# Run again after a node was restarted: its routes are gone. Pods that run keep their link.
. "$(dirname "$0")/env.sh"

case ${PODS:-routed} in
routed) plugin='"type": "ptp", "ipMasq": false' ;;
bridge) plugin='"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false' ;;
*) fail "PODS=$PODS: write routed or bridge" ;;
esac

ranges_of() { # waits for the controller manager, which gives ranges out: one of each family
  local ranges
  for _ in $(seq 240); do
    ranges=$(inside kubectl get node "$1" -o jsonpath='{.spec.podCIDRs[*]}')
    [ -z "$ranges" ] || { echo "$ranges"; return; }
    sleep 0.25
  done
  fail "node $1 has no pod range after a minute"
}

nodes=$(inside kubectl get nodes -o jsonpath='{.items[*].metadata.name}')
for node in $nodes; do
  ranges=$(ranges_of "$node")
  addresses=$(inside kubectl get node "$node" -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}')
  pools= defaults=
  for range in $ranges; do
    case $range in *:*) all=::/0 ;; *) all=0.0.0.0/0 ;; esac
    pools+="${pools:+, }[{\"subnet\": \"$range\"}]" defaults+="${defaults:+, }{\"dst\": \"$all\"}"
  done
  # Every refusal is answered (the kernel answers six, then one a second), and pods' own
  # echo requests need no capability.
  docker exec -i "$node" sh -ec '
    mkdir -p /etc/cni/net.d; cat >/etc/cni/net.d/10-ringfence-e2e.conflist
    for setting in net/ipv4/icmp_ratelimit=0 net/ipv4/icmp_ratemask=0 net/ipv6/icmp/ratelimit=0 \
      net/ipv4/icmp_msgs_per_sec=1000000 net/ipv4/icmp_msgs_burst=100000; do
      echo "${setting#*=}" >"/proc/sys/${setting%%=*}" || true
    done' 2>/dev/null <<JSON
{"cniVersion": "0.3.1", "name": "ringfence-e2e", "plugins": [
  {$plugin, "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam",
    "ranges": [$pools], "routes": [$defaults]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  for other in $nodes; do
    [ "$other" != "$node" ] || continue
    for range in $ranges; do
      for address in $addresses; do
        # Of the same family.
        case $range,$address in *:*,*:* | *.*,*.*) docker exec "$other" ip route replace "$range" via "$address" ;; esac
      done
    done
  done
done
