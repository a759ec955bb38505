#!/bin/sh
# Makes the user and, after an upgrade, restarts a service that runs: the node hands its work over before.
set -e
root=${DPKG_ROOT:-}

if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers ${root:+--root="$root"} seepnode.conf
elif ! getent passwd seepnode >/dev/null; then
  useradd ${root:+--root "$root"} --system --user-group --home-dir /var/lib/seepnode --shell /usr/sbin/nologin --comment "seepnode, a stream processor" seepnode
fi

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  if [ "$1" = configure ] && [ -n "$2" ]; then
    systemctl try-restart seepnode.service
  fi
fi
