terraform {
  # Secrets are write-only arguments, which no state holds: since 1.11.
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.90, < 7.0"
    }
  }
}
