# Starts a node: the rest of an instance's user data, behind the settings that main.tf puts before it. It runs once, as root. Secrets are
# not fetched here but by the service, at each start, into memory: nothing of them is on a disk or in a log. ROOT is for tests.
set -euo pipefail
umask 022
root=${ROOT:-}
metadata=http://169.254.169.254/latest

imds() { # imds PATH: asks the metadata service, version 2
  curl -fsS --retry 5 --max-time 5 -H "X-aws-ec2-metadata-token: $imds_token" "$metadata/meta-data/$1"
}

imds_token=$(curl -fsS --retry 5 --max-time 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$metadata/api/token")
instance=$(imds instance-id)
zone=$(imds placement/availability-zone)
market=$(imds instance-life-cycle)

if [ -n "$PACKAGE_URL" ]; then
  work=$(mktemp -d)
  package=$work/${PACKAGE_URL##*/}
  curl -fsSL --retry 10 --retry-all-errors --max-time 300 -o "$package" "$PACKAGE_URL"
  echo "$PACKAGE_SHA256  $package" | sha256sum -c --quiet -
  case $package in
    *.deb) dpkg -i "$package" ;;
    *) tar -C "$root/" --no-same-owner --no-overwrite-dir -xzf "$package" && systemd-sysusers ${root:+--root="$root"} seepnode.conf ;;
  esac
  rm -rf "$work"
fi
if [ ! -x "$root/usr/bin/seepnode" ]; then
  echo "the image has no /usr/bin/seepnode: give package_url, or an image that has it" >&2
  exit 1
fi

# The service's own configuration: what is the same everywhere, and what only the instance knows.
mkdir -p "$root/etc/seepnode"
{
  base64 -d <<<"$AGENT"
  printf 'name: "%s"\n' "$instance"
  printf 'http: "0.0.0.0:7600"\n'
  printf 'token-file: /run/seepnode/token\n'
  printf 'encrypt-key-file: /run/seepnode/gossip.key\n'
  if [ -n "$TLS_PARAMETERS" ]; then printf 'tls-%s: /run/seepnode/tls-%s.pem\n' cert cert key key ca ca; fi
  printf 'tag:\n  zone: "%s"\n' "$zone"
  if [ -n "$ROLE" ]; then printf '  role: "%s"\n' "$ROLE"; fi
  if [ "$market" = spot ]; then printf '  spot: "true"\n'; fi
} >"$root/etc/seepnode/agent.yaml"

mkdir -p "$root/usr/local/lib/seepnode" "$root/etc/systemd/system/seepnode.service.d"
cat >"$root/usr/local/lib/seepnode/secrets" <<'SECRETS'
#!/bin/bash
# secrets DIR: fetches the fleet's secrets of the SSM parameter store into DIR, for the user seepnode alone. It prints nothing of them, and
# nothing of them is an argument of a program.
set -euo pipefail
umask 077
metadata=http://169.254.169.254/latest
. "${0%/*}/fleet"

# Credentials and requests go to curl as a configuration on its standard input.
ask() { curl -fsS --retry 8 --retry-all-errors --max-time 10 -K -; }

field() { # field NAME: a text of a JSON object, without quotes and backslashes but those of line ends
  tr -d '\n' | sed -n 's/.*"'"$1"'" *: *"\(\([^"\\]\|\\n\)*\)".*/\1/; T; s/\\n/\n/g; p'
}

token=$(ask <<<"request = PUT
header = \"X-aws-ec2-metadata-token-ttl-seconds: 300\"
url = \"$metadata/api/token\"")
imds() {
  ask <<<"header = \"X-aws-ec2-metadata-token: $token\"
url = \"$metadata/meta-data/$1\""
}
role=$(imds iam/security-credentials/)
credentials=$(imds "iam/security-credentials/$role")
key=$(field AccessKeyId <<<"$credentials")
secret=$(field SecretAccessKey <<<"$credentials")
session=$(field Token <<<"$credentials")

fetch() { # fetch PARAMETER FILE
  local value
  value=$(ask <<<"aws-sigv4 = \"aws:amz:$REGION:ssm\"
user = \"$key:$secret\"
header = \"X-Amz-Security-Token: $session\"
header = \"X-Amz-Target: AmazonSSM.GetParameter\"
header = \"Content-Type: application/x-amz-json-1.1\"
data = \"{\\\"Name\\\":\\\"$1\\\",\\\"WithDecryption\\\":true}\"
url = \"https://$SSM_ENDPOINT/\"" | field Value)
  if [ -z "$value" ]; then
    echo "SSM gives no value of the parameter $1" >&2
    exit 1
  fi
  printf '%s\n' "$value" >"$2.new"
  chown seepnode: "$2.new"
  mv "$2.new" "$2"
}
fetch "$GOSSIP_KEY_PARAMETER" "$1/gossip.key"
fetch "$TOKEN_PARAMETER" "$1/token"
# The agent uses a new certificate as soon as its key is there, too.
if [ -n "$TLS_PARAMETERS" ]; then
  for name in ca cert key; do fetch "$TLS_PARAMETERS-$name" "$1/tls-$name.pem"; done
fi
SECRETS
chmod 755 "$root/usr/local/lib/seepnode/secrets"
printf "%s='%s'\n" REGION "$REGION" SSM_ENDPOINT "$SSM_ENDPOINT" GOSSIP_KEY_PARAMETER "$GOSSIP_KEY_PARAMETER" TOKEN_PARAMETER "$TOKEN_PARAMETER" \
  TLS_PARAMETERS "$TLS_PARAMETERS" \
  >"$root/usr/local/lib/seepnode/fleet"

cat >"$root/etc/systemd/system/seepnode.service.d/ec2.conf" <<UNIT
[Service]
Environment=AWS_REGION=$REGION
ExecStartPre=+/usr/local/lib/seepnode/secrets /run/seepnode
ExecReload=+/usr/local/lib/seepnode/secrets /run/seepnode
# What cannot be had now may be had later: the instance is there to run this.
Restart=always
RestartSec=5s
UNIT

systemctl daemon-reload
systemctl enable --now seepnode.service
