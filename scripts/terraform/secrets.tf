# Values are written and never read back: neither state nor plan holds them.

locals {
  parameters = {
    gossip_key = "/seepnode/${var.name}/gossip-key"
    token      = "/seepnode/${var.name}/token"
  }
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
