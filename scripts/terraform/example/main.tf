# A fleet of three seeds in three zones of a VPC, whose pool takes spot instances where there are some.
#
#   export TF_VAR_gossip_key=$(head -c 32 /dev/urandom | base64) TF_VAR_token=$(openssl rand -hex 32)
#   terraform init && terraform apply
#
# Keep both values, in a password manager say: each later apply asks for them, and sends them only when secrets_version grows.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.90, < 7.0"
    }
  }
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "subnet_ids" {
  description = "Private subnets of one VPC, with a way to the AWS API."
  type        = list(string)
}

variable "ami_id" {
  description = "Debian 12 or Amazon Linux 2023, arm64."
  type        = string
}

variable "package_url" {
  description = "Where seepnode_VERSION_arm64.deb, made by make package, can be had."
  type        = string
}

variable "package_sha256" {
  type = string
}

variable "gossip_key" {
  type      = string
  sensitive = true
  ephemeral = true
}

variable "token" {
  type      = string
  sensitive = true
  ephemeral = true
}

# With all three, like TF_VAR_tls_cert=$(cat node.pem), nodes speak TLS and HTTP is HTTPS; from the first apply or never.
variable "tls_cert" {
  type    = string
  default = ""
}

variable "tls_key" {
  type      = string
  default   = ""
  sensitive = true
  ephemeral = true
}

variable "tls_ca" {
  type    = string
  default = ""
}

provider "aws" {
  region = var.region
}

module "fleet" {
  source = "../"

  name           = "orders"
  subnet_ids     = var.subnet_ids
  ami_id         = var.ami_id
  package_url    = var.package_url
  package_sha256 = var.package_sha256
  gossip_key     = var.gossip_key
  token          = var.token
  tls_cert       = var.tls_cert
  tls_key        = var.tls_key
  tls_ca         = var.tls_ca

  instance_type = "m7g.large"
  market        = "spot-first"
  spares        = 2
  http_cidrs    = ["10.0.0.0/8"]
  agent         = { log-format = "json" }
  tags          = { team = "streams" }
}

output "console_url" {
  value = module.fleet.console_url
}

output "join" {
  value = module.fleet.join
}

output "addresses" {
  value = module.fleet.addresses
}
