#!/bin/sh
# Stops the service when the package goes; an upgrade restarts it afterwards.
set -e
if [ "$1" = remove ] && [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
  systemctl disable --now seepnode.service
fi
