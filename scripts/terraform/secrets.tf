# Values are written and never read back: neither state nor plan holds them.

locals {
  tls = var.tls_cert != ""
  parameters = merge({
    gossip_key = "/seepnode/${var.name}/gossip-key"
    token      = "/seepnode/${var.name}/token"
    }, local.tls ? {
    tls_cert = "/seepnode/${var.name}/tls-cert"
    tls_key  = "/seepnode/${var.name}/tls-key"
    tls_ca   = "/seepnode/${var.name}/tls-ca"
  } : {})
}

resource "aws_ssm_parameter" "gossip_key" {
  name             = local.parameters.gossip_key
  description      = "Key of gossip of the seepnode fleet ${var.name}"
  type             = "SecureString"
  key_id           = var.kms_key_arn
  value_wo         = var.gossip_key
  value_wo_version = var.secrets_version
  tags             = local.tags
}

resource "aws_ssm_parameter" "token" {
  name             = local.parameters.token
  description      = "Token of the HTTP API of the seepnode fleet ${var.name}"
  type             = "SecureString"
  key_id           = var.kms_key_arn
  value_wo         = var.token
  value_wo_version = var.secrets_version
  tags             = local.tags
}

# Certificates are no secrets, but change together with their key. More than 4096 characters cost a little; line ends are those that a
# JSON text of SSM has as \n.
resource "aws_ssm_parameter" "tls" {
  for_each         = { for name in ["tls_cert", "tls_key", "tls_ca"] : name => local.parameters[name] if local.tls }
  name             = each.value
  description      = "${each.key} of the seepnode fleet ${var.name}"
  type             = "SecureString"
  tier             = "Intelligent-Tiering"
  key_id           = var.kms_key_arn
  value_wo         = replace({ tls_cert = var.tls_cert, tls_key = var.tls_key, tls_ca = var.tls_ca }[each.key], "\r", "")
  value_wo_version = var.secrets_version
  tags             = local.tags
}
