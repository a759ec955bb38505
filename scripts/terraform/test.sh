#!/usr/bin/env bash
# Checks the Terraform module without network and account: format, validity, and its tests against an imitated provider. Needs terraform
# and a copy of the aws provider on the disk, in TF_PLUGIN_DIR or one of the places where Terraform looks, too.
set -euo pipefail
cd "$(dirname "$0")"

skip() {
  echo "skipped: $1"
  exit 0
}

command -v terraform >/dev/null || skip "there is no terraform here"

mirror=
for dir in "${TF_PLUGIN_DIR:-}" "$HOME/.terraform.d/plugins" "${XDG_DATA_HOME:-$HOME/.local/share}/terraform/plugins" \
  /usr/local/share/terraform/plugins /usr/share/terraform/plugins /opt/tf-plugins /opt/terraform/plugins; do
  if [ -n "$dir" ] && [ -d "$dir/registry.terraform.io/hashicorp/aws" ]; then
    mirror=$(cd "$dir" && pwd)
    break
  fi
done
[ -n "$mirror" ] || skip "there is no copy of the aws provider here; TF_PLUGIN_DIR says where one is"

# A configuration of the person who runs this, and what a run leaves, are kept out.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/terraformrc"
export TF_CLI_CONFIG_FILE=$work/terraformrc TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
export AWS_REGION=eu-central-1 AWS_EC2_METADATA_DISABLED=true

terraform fmt -check -diff -recursive
for script in ./*.sh; do
  bash -n "$script"
done
cp -r . "$work/module"
cd "$work/module"
for dir in . example; do
  (cd "$dir" && terraform init -no-color -backend=false -input=false -plugin-dir="$mirror" >"$work/init" || { cat "$work/init"; exit 1; }; terraform validate -no-color)
done
terraform test -no-color
