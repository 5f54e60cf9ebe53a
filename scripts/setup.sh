#!/usr/bin/env bash
# Installs what a target needs, or says in one sentence what to install.
#   scripts/setup.sh net     iptables, ipset, nftables, conntrack, iproute2
#   scripts/setup.sh deny    cargo-deny, for `make lint`
#   scripts/setup.sh kind    jq and curl; a Docker daemon and debootstrap, where no Docker answers
#   scripts/setup.sh browser a headless browser, for the test of the report's page
#   scripts/setup.sh bench   nginx and ab, for the Service benchmark
set -euo pipefail

apt_install() {
  local missing=("$@")
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: please install: ${missing[*]} (Debian: sudo apt-get install ${missing[*]})" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# need PROGRAM PACKAGE ...: collects the packages whose program is not there.
need() {
  local packages=()
  while [ $# -gt 0 ]; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null || packages+=("$2")
    shift 2
  done
  [ ${#packages[@]} -eq 0 ] || apt_install "${packages[@]}"
}

case "${1:-}" in
net)
  need iptables iptables ipset ipset nft nftables conntrack conntrack ip iproute2
  ;;
kind)
  need jq jq curl curl
  docker version >/dev/null 2>&1 || need docker docker.io dockerd docker.io debootstrap debootstrap
  ;;
browser)
  need chromium-headless-shell chromium-headless-shell
  ;;
bench)
  need nginx nginx-light ab apache2-utils
  ;;
deny)
  command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny --version 0.20.2
  ;;
*)
  echo "usage: scripts/setup.sh net|kind|bench|deny|browser" >&2
  exit 2
  ;;
esac
