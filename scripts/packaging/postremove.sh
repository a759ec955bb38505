#!/bin/sh
# Only a purge removes the node's files: copies of other nodes' state are among them. The user stays, so that its number is not given to another.
set -e
root=${DPKG_ROOT:-}
if [ "$1" = purge ]; then
  rm -rf "$root/var/lib/seepnode"
  rmdir --ignore-fail-on-non-empty "$root/etc/seepnode" 2>/dev/null || true
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
