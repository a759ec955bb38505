# Mistakes are found before anything is made.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  name       = "orders"
  subnet_ids = ["subnet-0a"]
  ami_id     = "ami-0a1b2c3d4e5f60718"
  gossip_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
  token      = "0123456789abcdef0123456789abcdef"
}

run "name_with_capitals" {
  command = plan
  variables {
    name = "Orders"
  }
  expect_failures = [var.name]
}

run "name_too_short" {
  command = plan
  variables {
    name = "o"
  }
  expect_failures = [var.name]
}

run "no_subnet" {
  command = plan
  variables {
    subnet_ids = []
  }
  expect_failures = [var.subnet_ids]
}

run "four_subnets" {
  command = plan
  variables {
    subnet_ids = ["subnet-0a", "subnet-0b", "subnet-0c", "subnet-0d"]
  }
  expect_failures = [var.subnet_ids]
}

run "a_subnet_twice" {
  command = plan
  variables {
    subnet_ids = ["subnet-0a", "subnet-0a"]
  }
  expect_failures = [var.subnet_ids]
}

run "two_seeds" {
  command = plan
  variables {
    seeds = 2
  }
  expect_failures = [var.seeds]
}

run "no_image" {
  command = plan
  variables {
    ami_id = "debian-12"
  }
  expect_failures = [var.ami_id]
}

run "package_over_http" {
  command = plan
  variables {
    package_url    = "http://packages.example.com/seepnode.deb"
    package_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  }
  expect_failures = [var.package_url]
}

run "package_without_checksum" {
  command = plan
  variables {
    package_url = "https://packages.example.com/seepnode.deb"
  }
  expect_failures = [var.package_sha256]
}

run "checksum_without_package" {
  command = plan
  variables {
    package_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  }
  expect_failures = [var.package_sha256]
}

run "key_too_short" {
  command = plan
  variables {
    gossip_key = "AAAA"
  }
  expect_failures = [var.gossip_key]
}

run "token_too_short" {
  command = plan
  variables {
    token = "secret"
  }
  expect_failures = [var.token]
}

run "token_with_quotes" {
  command = plan
  variables {
    token = "0123456789abcdef'$(reboot)"
  }
  expect_failures = [var.token]
}

run "secrets_version_zero" {
  command = plan
  variables {
    secrets_version = 0
  }
  expect_failures = [var.secrets_version]
}

run "no_instance_type" {
  command = plan
  variables {
    instance_type = "large"
  }
  expect_failures = [var.instance_type]
}

run "no_market" {
  command = plan
  variables {
    market = "cheap"
  }
  expect_failures = [var.market]
}

run "half_a_spare" {
  command = plan
  variables {
    spares = 0.5
  }
  expect_failures = [var.spares]
}

run "too_many_spares" {
  command = plan
  variables {
    spares    = 101
    max_nodes = 200
  }
  expect_failures = [var.spares]
}

run "no_room_for_spares" {
  command = plan
  variables {
    spares    = 2
    max_nodes = 2
  }
  expect_failures = [var.max_nodes]
}

run "tiny_volume" {
  command = plan
  variables {
    volume_gib = 1
  }
  expect_failures = [var.volume_gib]
}

run "alias_of_a_key" {
  command = plan
  variables {
    kms_key_arn = "alias/mine"
  }
  expect_failures = [var.kms_key_arn]
}

run "http_for_everybody" {
  command = plan
  variables {
    http_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.http_cidrs]
}

run "http_for_no_network" {
  command = plan
  variables {
    http_cidrs = ["10.0.0.1"]
  }
  expect_failures = [var.http_cidrs]
}

run "no_way_out" {
  command = plan
  variables {
    egress_cidrs = []
  }
  expect_failures = [var.egress_cidrs]
}

run "no_security_group" {
  command = plan
  variables {
    security_group_ids = ["default"]
  }
  expect_failures = [var.security_group_ids]
}

run "a_setting_of_the_module" {
  command = plan
  variables {
    agent = { http = "0.0.0.0:80" }
  }
  expect_failures = [var.agent]
}

run "settings_that_are_none" {
  command = plan
  variables {
    agent = "log-format: json"
  }
  expect_failures = [var.agent]
}

run "a_tag_of_the_module" {
  command = plan
  variables {
    tags = { "seepnode:token" = "x" }
  }
  expect_failures = [var.tags]
}

run "subnets_of_two_networks" {
  command = plan
  variables {
    subnet_ids = ["subnet-0a", "subnet-0b"]
  }
  override_data {
    target = data.aws_subnet.first
    values = { vpc_id = "vpc-11111111" }
  }
  expect_failures = [data.aws_subnet.node]
}

run "certificate_without_key" {
  command = plan
  variables {
    tls_cert = "-----BEGIN CERTIFICATE-----\nQ0VSVA==\n-----END CERTIFICATE-----\n"
    tls_ca   = "-----BEGIN CERTIFICATE-----\nQ0E=\n-----END CERTIFICATE-----\n"
  }
  expect_failures = [var.tls_key]
}

run "key_without_certificate" {
  command = plan
  variables {
    tls_key = "-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"
  }
  expect_failures = [var.tls_key]
}

run "certificate_without_authority" {
  command = plan
  variables {
    tls_cert = "-----BEGIN CERTIFICATE-----\nQ0VSVA==\n-----END CERTIFICATE-----\n"
    tls_key  = "-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"
  }
  expect_failures = [var.tls_cert]
}

run "certificate_that_is_a_file_name" {
  command = plan
  variables {
    tls_cert = "node.pem"
    tls_key  = "-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"
    tls_ca   = "-----BEGIN CERTIFICATE-----\nQ0E=\n-----END CERTIFICATE-----\n"
  }
  expect_failures = [var.tls_cert]
}

run "key_with_a_password" {
  command = plan
  variables {
    tls_cert = "-----BEGIN CERTIFICATE-----\nQ0VSVA==\n-----END CERTIFICATE-----\n"
    tls_key  = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nS0VZ\n-----END ENCRYPTED PRIVATE KEY-----\n"
    tls_ca   = "-----BEGIN CERTIFICATE-----\nQ0E=\n-----END CERTIFICATE-----\n"
  }
  expect_failures = [var.tls_key]
}

run "authority_with_its_key" {
  command = plan
  variables {
    tls_cert = "-----BEGIN CERTIFICATE-----\nQ0VSVA==\n-----END CERTIFICATE-----\n"
    tls_key  = "-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"
    tls_ca   = "-----BEGIN CERTIFICATE-----\nQ0E=\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"
  }
  expect_failures = [var.tls_ca]
}
