#!/bin/bash
# For clusters without internet: the image archives, one rendered YAML for each overlay, and
# what is in them, in one folder. `make bundle`
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=${OUT:-$ROOT/.cache/bundle}
mkdir -p "$OUT"
OUT=$OUT IMAGES="webhook controller enforcer probe" "$ROOT/images/build.sh"
version=$(git -C "$ROOT" describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
kubectl=${CONTROLPLANE:-$ROOT/.cache/controlplane}/kubectl
[ -x "$kubectl" ] || kubectl=kubectl
for folder in "$ROOT/manifests/base" "$ROOT"/manifests/overlays/*/ "$ROOT/manifests/cleanup"; do
  name=$(basename "$folder")
  # The tag is that of the archives beside it.
  "$kubectl" kustomize "$folder" | sed -E "s#(image: ringfence/[a-z]+):.*#\1:$version#" >"$OUT/ringfence-$name.yaml"
done
cat >"$OUT/README.txt" <<TEXT
Ringfence $version, for clusters without internet.

1. Load the images on every node:   ctr -n k8s.io images import enforcer.tar   (and the others)
   or push them to a registry of your own and change the names in the YAML files.
2. kubectl apply -f one of these:
   ringfence-base.yaml: everything; -cert-manager: the same, with certificates by cert-manager;
   -companion: the same, with injection mode companion; -reports: the same, with findings as
   Report objects; -enforcer-only; -webhook-only; -kind: everything, and nodes never pull.
   -cleanup: takes away what a node that was gone has kept (apply, wait, delete again).
3. SHA256SUMS, for what was copied: sha256sum -c SHA256SUMS
*.spdx.json lists what is in each image.
TEXT
(cd "$OUT" && rm -f ./*.content ringfence-e2e && sha256sum ./*.tar ./*.yaml ./*.json >SHA256SUMS)
ls -la "$OUT"
