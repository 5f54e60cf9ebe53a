#!/bin/bash
# debian.sh FOLDER PACKAGE...: a Debian root with these packages, made once.
. "$(dirname "$0")/env.sh"
folder=$1; shift
packages=$(IFS=,; echo "$*")
[ "$(cat "$folder/.packages" 2>/dev/null)" != "$packages" ] || exit 0
command -v debootstrap >/dev/null || fail "debootstrap is missing. Debian: apt-get install debootstrap"
[ "$(id -u)" -eq 0 ] || fail "only root can make a Debian root (debootstrap)"
say "making a Debian root for the images (about a minute)"
rm -rf "$folder"
log=$KIND_CACHE/log/debootstrap
debootstrap --variant=minbase --include="$packages" bookworm "$folder" ${DEBIAN_MIRROR:-} >"$log" 2>&1 ||
  { tail -5 "$log" >&2; fail "debootstrap failed; its log is $log. DEBIAN_MIRROR= names another mirror."; }
rm -rf "$folder"/var/cache/apt "$folder"/var/lib/apt/lists/* "$folder"/usr/share/{doc,man,locale,info}
echo "$packages" >"$folder/.packages"
lap "Debian root"
