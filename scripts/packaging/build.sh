#!/usr/bin/env bash
# build.sh PROGRAM OUT [ARCH]: packages a Linux program as OUT/seepnode_VERSION_ARCH.deb and OUT/seepnode_VERSION_linux_ARCH.tar.gz. The tar
# holds the same files, to be unpacked at / (then: systemd-sysusers). The same commit and program give the same bytes. SEEPNODE_VERSION
# overrides what git says.
set -euo pipefail
umask 022
program=$(realpath "$1")
out=$(mkdir -p "$2" && realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"

# A Debian version begins with a digit; what lies behind a tag sorts after it, and what has none before everything.
described=${SEEPNODE_VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo devel)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
day=$(TZ=UTC printf '%(%Y%m%d)T' "$epoch")
case $described in
  v[0-9]* | [0-9]*.[0-9]*) version=$(printf '%s' "${described#v}" | tr -- '-' '+') ;;
  *) version=0~git$day.$(printf '%s' "$described" | tr -- '-' '+') ;;
esac
arch=${3:-$(go env GOARCH)}
export VERSION=$version ARCH=$arch SOURCE_DATE_EPOCH=$epoch

ROOT=$(mktemp -d)
export ROOT
trap 'rm -rf "$ROOT"' EXIT
install -Dm755 "$program" "$ROOT/usr/bin/seepnode"
install -Dm644 seepnode.service "$ROOT/usr/lib/systemd/system/seepnode.service"
install -Dm644 sysusers.conf "$ROOT/usr/lib/sysusers.d/seepnode.conf"
install -Dm644 agent.yaml "$ROOT/etc/seepnode/agent.yaml"
install -Dm644 ../../LICENSE "$ROOT/usr/share/doc/seepnode/copyright"
chmod 755 "$ROOT"

GOOS='' GOARCH='' GOFLAGS='' go tool nfpm package --config nfpm.yaml --packager deb --target "$out/seepnode_${version}_$arch.deb"
tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner -C "$ROOT" -cf - etc usr | gzip -n9 >"$out/seepnode_${version}_linux_$arch.tar.gz"
echo "$out/seepnode_${version}_linux_$arch.tar.gz"
