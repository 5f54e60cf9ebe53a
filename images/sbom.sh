#!/bin/bash
# sbom.sh PACKAGE VERSION [BASE]: what is in an image, as SPDX 2.3 JSON: every crate that the
# program was built from (cargo's own resolution, without what only tests and builds need), and
# every Debian package of BASE.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
package=$1 version=$2 base=${3:-}

debian=
if [ -n "$base" ]; then
  # shellcheck disable=SC2016
  debian=$(docker run --rm --network none --entrypoint dpkg-query "$base" -W -f '${Package}\t${Version}\t${Architecture}\n')
fi
crates=$(cd "$ROOT" && cargo tree -p "$package" -e normal --prefix none -f '{p}	{l}' | sed 's/ (\*)$//; s/ (proc-macro)//; s# (/[^)]*)##' | sort -u)
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-0}" +%Y-%m-%dT%H:%M:%SZ)

jq -n --arg name "$package" --arg version "$version" --arg created "$created" --arg crates "$crates" --arg debian "$debian" '
  def id(kind; a; b): "SPDXRef-" + kind + "-" + ((a + "-" + b) | gsub("[^A-Za-z0-9.-]"; "-"));
  def entry(kind; name; version; licence; purl):
    { SPDXID: id(kind; name; version), name: name, versionInfo: version, downloadLocation: "NOASSERTION",
      filesAnalyzed: false, licenseConcluded: "NOASSERTION", licenseDeclared: (if licence == "" then "NOASSERTION" else licence end),
      externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl }] };
  [ $crates | split("\n")[] | select(. != "") | split("\t") | (.[0] | split(" ")) as $p
    | entry("cargo"; $p[0]; ($p[1] | ltrimstr("v")); (.[1] // "" | gsub("/"; " OR ")); "pkg:cargo/\($p[0])@\($p[1] | ltrimstr("v"))") ] as $cargo
  | [ $debian | split("\n")[] | select(. != "") | split("\t")
      | entry("deb"; .[0]; .[1]; ""; "pkg:deb/debian/\(.[0])@\(.[1] | @uri)?arch=\(.[2])") ] as $deb
  | { spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", name: "\($name)-\($version)",
      documentNamespace: "https://ringfence.dev/spdx/\($name)-\($version)",
      creationInfo: { created: $created, creators: ["Tool: ringfence-images"] },
      packages: ($cargo + $deb),
      relationships: [ $cargo[], $deb[] | { spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: .SPDXID } ] }'
