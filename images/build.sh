#!/bin/bash
# The images of Ringfence, as archives that `docker load`, `kind load image-archive` and
# `ctr images import` take. `make images`
#
#   OUT=folder       where the archives go (default: .cache/images)
#   BASE=image       what the enforcer's image starts from (default: Debian slim where a
#                    registry answers, else a root made by debootstrap)
#   PROFILE=dev      not optimized: builds faster, runs slower
#   IMAGES="..."     which ones (default: webhook controller enforcer probe)
#
# Every image gets two tags: its version (git describe) and `dev`. Files have the commit's
# date and no owner, so that one commit makes one image, given the same base.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/e2e/kind/env.sh"
OUT=${OUT:-$ROOT/.cache/images}
PROFILE=${PROFILE:-release}
IMAGES=${IMAGES:-webhook controller enforcer probe}
TARGET=x86_64-unknown-linux-gnu
[ "$(uname -m)" = x86_64 ] || TARGET=$(uname -m)-unknown-linux-gnu
# Without git, or in a checkout of somebody else's, there is neither.
version=$(git -C "$ROOT" describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH

docker version >/dev/null 2>&1 || fail "no Docker daemon answers; e2e/kind/docker.sh start starts one (as root)"

# package of an image, and its program
package() { case $1 in probe) echo ringfence-e2e ;; *) echo "ringfence-$1" ;; esac; }

# === What the enforcer's image starts from ===

base() {
  if [ -n "${BASE:-}" ]; then echo "$BASE"; return; fi
  local published=debian:bookworm-slim
  if docker image inspect $published >/dev/null 2>&1 ||
    { registry_answers && inside timeout 60 docker pull -q $published >/dev/null 2>&1; }; then
    echo $published
    return
  fi
  local root=$KIND_CACHE/base own=ringfence-e2e/base:bookworm
  if ! docker image inspect "$own" >/dev/null 2>&1; then
    "$ROOT/e2e/kind/debian.sh" "$root" iptables ipset nftables conntrack kmod iproute2 procps
    tar --sort=name --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$root" --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* -c . |
      docker import - "$own" >/dev/null
  fi
  echo "$own"
}

# === The programs ===

# Static: the images have no C library. Only with --target are build scripts and procedural
# macros left as they are. The time in them is that of .cargo/config.toml.
flags=()
for image in $IMAGES; do flags+=(-p "$(package "$image")"); done
# The enforcer's image starts from something that may have to be made: meanwhile.
mkdir -p "$OUT"
context=$(mktemp -d "$KIND_CACHE/image.XXXXXX")
trap 'rm -rf "$context"' EXIT
case " $IMAGES " in *" enforcer "*) base >"$context/base" & ;; esac
based=${!:-}
(cd "$ROOT" && env -u SOURCE_DATE_EPOCH RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked --profile "$PROFILE" --target "$TARGET" --bins "${flags[@]}")
lap "programs ($PROFILE, static)"
built=${CARGO_TARGET_DIR:-$ROOT/target}/$TARGET/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")

# === The images ===

for image in $IMAGES; do
  name=ringfence/$image
  folder=$context/$image; mkdir "$folder"
  strip -o "$folder/program" "$built/$(package "$image")"
  # The harness itself runs outside of the cluster as well.
  [ "$image" != probe ] || cp "$folder/program" "$OUT/ringfence-e2e"
  # An image of the same content is not made again.
  base=
  [ "$image" != enforcer ] || { wait "$based"; base=$(cat "$context/base"); }
  case $image in
  enforcer) dockerfile=Dockerfile.enforcer; arguments=(--build-arg "BASE=$base") ;;
  probe) dockerfile=Dockerfile.static; arguments=(--build-arg USER=0:0) ;;
  *) dockerfile=Dockerfile.static; arguments=() ;;
  esac
  content=$({ cat "$folder/program" "$ROOT/images/$dockerfile" "$ROOT/images/sbom.sh"; echo "$base $version"; [ -z "$base" ] || docker image inspect -f '{{.Id}}' "$base"; } | sha256sum | cut -c1-16)
  if [ "$(cat "$OUT/$image.content" 2>/dev/null)" != "$content" ] || [ ! -f "$OUT/$image.tar" ] ||
    ! docker image inspect "$name:dev" >/dev/null 2>&1; then
    "$ROOT/images/sbom.sh" "$(package "$image")" "$version" "$base" >"$folder/sbom.spdx.json"
    cp "$folder/sbom.spdx.json" "$OUT/$image.spdx.json"
    find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    log=$KIND_CACHE/log/image-$image
    docker build ${base:+--network none} -f "$ROOT/images/$dockerfile" "${arguments[@]}" --label "org.opencontainers.image.version=$version" \
      --label "org.opencontainers.image.licenses=Apache-2.0" -t "$name:$version" -t "$name:dev" "$folder" >"$log" 2>&1 ||
      { tail -15 "$log" >&2; fail "building $name failed; its log is $log"; }
    docker save "$name:$version" "$name:dev" -o "$OUT/$image.tar"
    echo "$content" >"$OUT/$image.content"
  fi
  printf '%-44s %6d kB  %s\n' "$name:$version" "$(($(stat -c %s "$OUT/$image.tar") / 1000))" "$OUT/$image.tar"
done
lap "images"
