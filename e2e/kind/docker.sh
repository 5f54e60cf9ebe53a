#!/bin/bash
# Docker: the one that runs here, else one of our own.
#
#   docker.sh start    starts a daemon where none answers
#   docker.sh stop     ends the one that we started
#
# Our own has its state in .cache/kind, its sockets in /run and a network namespace of its
# own: no bridge, rule or address of a cluster is ever in the machine's.
. "$(dirname "$0")/env.sh"

start() {
  if docker version >/dev/null 2>&1; then
    return
  fi
  [ "$(id -u)" -eq 0 ] || fail "no Docker daemon answers (docker version), and only root can start one. Start Docker, or join its group."
  command -v dockerd >/dev/null || fail "dockerd is missing. Debian: apt-get install docker.io"
  local room memory
  room=$(($(df --output=avail -k "$KIND_CACHE" | tail -1) / 1000000)) memory=$(($(awk '/^MemAvailable/ { print $2 }' /proc/meminfo) / 1000))
  [ "$room" -ge 10 ] || fail "$room GB are free for $KIND_CACHE; a node image and a cluster want 10 GB"
  [ "$memory" -ge 2500 ] || fail "$memory MB of memory are free; a cluster of three nodes wants 2500 MB"
  for module in overlay br_netfilter; do modprobe "$module" 2>/dev/null || true; done
  grep -qw overlay /proc/filesystems || fail "the kernel has no overlay file system (modprobe overlay)"
  [ -d /sys/fs/cgroup ] && grep -q ' /sys/fs/cgroup' /proc/mounts || fail "no cgroups are mounted below /sys/fs/cgroup"
  local flags=()
  # Root of some containers and virtual machines lacks CAP_SYS_RESOURCE; containers that ask
  # for every capability then fail ("unable to apply caps").
  local has; has=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
  if ! ((0x$has >> 24 & 1)); then
    say "this machine's root has no CAP_SYS_RESOURCE: containers get all capabilities but that"
    flags+=(--add-runtime "without-resource=$HERE/runc-without-resource" --default-runtime without-resource)
  fi
  for bit in 12:NET_ADMIN 21:SYS_ADMIN 16:SYS_MODULE; do
    ((0x$has >> ${bit%%:*} & 1)) || [ "${bit##*:}" = SYS_MODULE ] || fail "this machine's root has no CAP_${bit##*:}: containers cannot run here"
  done
  mkdir -p "$RUN"
  ip netns add "$OWN" 2>/dev/null || true
  ip -n "$OWN" link set lo up
  # Without docker0: its range, 172.17.0.0/16, is masqueraded wherever it is seen, and documents
  # have clients there.
  inside setsid nohup dockerd --bridge none --data-root "$KIND_CACHE/docker" --exec-root "$RUN/exec" --pidfile "$RUN/docker.pid" \
    --host "unix://$RUN/docker.sock" "${flags[@]}" >"$KIND_CACHE/log/dockerd" 2>&1 </dev/null &
  export DOCKER_HOST=unix://$RUN/docker.sock
  for _ in $(seq 120); do
    ! docker version >/dev/null 2>&1 || { lap "Docker daemon of our own"; return; }
    sleep 0.25
  done
  tail -5 "$KIND_CACHE/log/dockerd" >&2
  stop
  fail "the Docker daemon does not answer after 30 s; its log is $KIND_CACHE/log/dockerd"
}

stop() {
  [ -d "$RUN" ] || return 0
  local pid; pid=$(cat "$RUN/docker.pid" 2>/dev/null || true)
  if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
    for _ in $(seq 120); do
      [ -d "/proc/$pid" ] || break
      sleep 0.25
    done
    [ ! -d "/proc/$pid" ] || fail "the Docker daemon (process $pid) does not end"
  fi
  ip netns del "$OWN" 2>/dev/null || true
  rm -rf "$RUN"
}

case "${1:-}" in
start) start ;;
stop) stop ;;
*) echo "usage: docker.sh start|stop" >&2; exit 2 ;;
esac
