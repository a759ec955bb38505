# What there is after an apply: rights, user data, outputs.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_resource {
  target = aws_iam_role.node["seed"]
  values = { arn = "arn:aws:iam::123456789012:role/seepnode-orders-seed" }
}

override_resource {
  target = aws_iam_instance_profile.node["seed"]
  values = { arn = "arn:aws:iam::123456789012:instance-profile/seepnode-orders-seed" }
}

override_resource {
  target = aws_iam_role.node["pool"]
  values = { arn = "arn:aws:iam::123456789012:role/seepnode-orders-pool" }
}

override_resource {
  target = aws_iam_instance_profile.node["pool"]
  values = { arn = "arn:aws:iam::123456789012:instance-profile/seepnode-orders-pool" }
}

variables {
  name           = "orders"
  subnet_ids     = ["subnet-0a", "subnet-0b", "subnet-0c"]
  ami_id         = "ami-0a1b2c3d4e5f60718"
  package_url    = "https://packages.example.com/seepnode_1.2.3_arm64.deb"
  package_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  gossip_key     = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
  token          = "0123456789abcdef0123456789abcdef"
  tls_key        = "" # said, since terraform test forgets the default of what is ephemeral
  market         = "spot-first"
  spares         = 2
  agent          = { log-format = "json", allow-path = ["/data"] }
}

run "outputs" {
  assert {
    condition     = output.join == "provider=aws tag_key=seepnode:fleet tag_value=orders region=eu-central-1"
    error_message = "The join string is ${output.join}."
  }
  assert {
    condition     = output.console_url == "http://10.0.1.10:7600/" && output.addresses == "10.0.1.10:7600,10.0.1.10:7600,10.0.1.10:7600"
    error_message = "The console is at ${output.console_url}, the nodes at ${output.addresses}."
  }
}

run "seeds_found_the_cluster_and_have_the_pool" {
  assert {
    condition = yamldecode(base64decode(regex("AGENT='([^']*)'", local.boot["seed"])[0])) == {
      join             = ["provider=aws tag_key=seepnode:fleet tag_value=orders region=eu-central-1"]
      bootstrap-expect = 3
      provider         = "ec2"
      spares           = 2
      max-nodes        = 20
      provider-option  = { template = "seepnode-orders-pool", subnets = "subnet-0a,subnet-0b,subnet-0c", market = "spot-first", region = "eu-central-1" }
      log-format       = "json"
      allow-path       = ["/data"]
    }
    error_message = "Seeds are configured otherwise."
  }
  assert {
    condition = yamldecode(base64decode(regex("AGENT='([^']*)'", local.boot["pool"])[0])) == {
      join       = ["provider=aws tag_key=seepnode:fleet tag_value=orders region=eu-central-1"]
      instance   = "imds"
      log-format = "json"
      allow-path = ["/data"]
    }
    error_message = "Pool nodes are configured otherwise."
  }
}

run "user_data_are_settings_and_the_script" {
  assert {
    condition = local.boot["pool"] == join("\n", [
      "#!/bin/bash",
      "ROLE='worker'",
      "REGION='eu-central-1'",
      "SSM_ENDPOINT='ssm.eu-central-1.amazonaws.com'",
      "GOSSIP_KEY_PARAMETER='/seepnode/orders/gossip-key'",
      "TOKEN_PARAMETER='/seepnode/orders/token'",
      "TLS_PARAMETERS=''",
      "PACKAGE_URL='https://packages.example.com/seepnode_1.2.3_arm64.deb'",
      "PACKAGE_SHA256='0000000000000000000000000000000000000000000000000000000000000000'",
      "AGENT='${regex("AGENT='([^']*)'", local.boot["pool"])[0]}'",
      file("boot.sh"),
    ])
    error_message = "The settings before the script are not those that its test gives it."
  }
  assert {
    condition     = alltrue([for s in values(local.boot) : !strcontains(s, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=") && !strcontains(s, "0123456789abcdef")])
    error_message = "A secret is in user data."
  }
  assert {
    condition     = aws_instance.seed[0].user_data_base64 == base64gzip(local.boot["seed"]) && aws_launch_template.pool.user_data == base64gzip(local.boot["pool"])
    error_message = "Instances get other user data."
  }
}

run "state_holds_no_secret" {
  assert {
    condition     = aws_ssm_parameter.token.value_wo == null && aws_ssm_parameter.gossip_key.value_wo == null
    error_message = "The state holds a secret."
  }
}

run "roles_have_no_right_without_a_limit" {
  assert {
    condition     = join(" ", sort(flatten([for s in jsondecode(aws_iam_role_policy.node["pool"].policy).Statement : s.Action]))) == "ec2:DescribeInstances ssm:GetParameter"
    error_message = "Pool nodes may do more than find others and read secrets."
  }
  assert {
    condition = join(" ", sort(flatten([for s in jsondecode(aws_iam_role_policy.node["seed"].policy).Statement : s.Action]))) == join(" ", [
      "ec2:CreateTags", "ec2:DescribeInstances", "ec2:RunInstances", "ec2:RunInstances", "ec2:TerminateInstances", "iam:PassRole", "ssm:GetParameter",
    ])
    error_message = "Seeds may do other things than the pool needs."
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role_policy.node["seed"].policy).Statement :
      s.Resource != "*" && length(try(s.Condition, {})) > 0 || s.Action == "ec2:DescribeInstances" || s.Action == "ssm:GetParameter"
    ])
    error_message = "A right has no condition, or holds for everything."
  }
  assert {
    condition = [for s in jsondecode(aws_iam_role_policy.node["seed"].policy).Statement : s.Resource if s.Sid == "ReadSecrets"][0] == [
      "arn:aws:ssm:eu-central-1:123456789012:parameter/seepnode/orders/gossip-key", "arn:aws:ssm:eu-central-1:123456789012:parameter/seepnode/orders/token",
    ]
    error_message = "Other parameters than the fleet's can be read."
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role_policy.node["seed"].policy).Statement :
      s.Condition.ArnEquals["ec2:LaunchTemplate"] == aws_launch_template.pool.arn if s.Action == "ec2:RunInstances"
    ])
    error_message = "Instances can be started from another template."
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role_policy.node["seed"].policy).Statement :
      s.Resource == "arn:aws:iam::123456789012:role/seepnode-orders-pool" if s.Action == "iam:PassRole"
    ])
    error_message = "Another role than the pool's can be given away."
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role_policy.node["seed"].policy).Statement :
      s.Condition.ArnEquals["ec2:InstanceProfile"] == "arn:aws:iam::123456789012:instance-profile/seepnode-orders-pool" && s.Condition.StringLike["aws:ResourceTag/seepnode:token"] == "?*"
      if s.Action == "ec2:TerminateInstances"
    ])
    error_message = "Other instances than those of the pool can be ended."
  }
}

run "a_key_of_ones_own" {
  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0000-0000-0000-000000000000"
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role_policy.node["seed"].policy).Statement :
      s.Resource == var.kms_key_arn && length(s.Condition.StringEquals["kms:ViaService"]) > 0 if startswith(flatten([s.Action])[0], "kms:")
    ])
    error_message = "Keys can be used for other things than secrets and volumes."
  }
  assert {
    condition     = aws_ssm_parameter.token.key_id == var.kms_key_arn && aws_launch_template.pool.block_device_mappings[0].ebs[0].kms_key_id == var.kms_key_arn
    error_message = "The key is not used."
  }
}

run "without_tls" {
  assert {
    condition     = length(aws_ssm_parameter.tls) == 0 && startswith(output.console_url, "http://")
    error_message = "There is TLS though nobody gave a certificate."
  }
}

# All nodes share a certificate and its key, which nodes get as they get the other secrets.
run "with_tls" {
  variables {
    tls_cert = "-----BEGIN CERTIFICATE-----\nQ0VSVA==\n-----END CERTIFICATE-----\n"
    tls_key  = "-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"
    tls_ca   = "-----BEGIN CERTIFICATE-----\r\nQ0E=\r\n-----END CERTIFICATE-----\r\n-----BEGIN CERTIFICATE-----\nQ0EtMg==\n-----END CERTIFICATE-----\n"
  }
  assert {
    condition = join(" ", sort([for p in aws_ssm_parameter.tls : "${p.name} ${p.type}"])) == join(" ", [
      for name in ["tls-ca", "tls-cert", "tls-key"] : "/seepnode/orders/${name} SecureString"
    ]) && alltrue([for p in aws_ssm_parameter.tls : p.value_wo == null])
    error_message = "The certificate, its key and the authorities are not parameters, or the state holds them."
  }
  assert {
    condition     = alltrue([for s in values(local.boot) : strcontains(s, "\nTLS_PARAMETERS='/seepnode/orders/tls'\n") && !strcontains(s, "S0VZ")])
    error_message = "User data do not say where nodes find their certificate, or hold its key."
  }
  assert {
    condition = alltrue([for role in ["seed", "pool"] :
      join(" ", sort([for s in jsondecode(aws_iam_role_policy.node[role].policy).Statement : s.Resource if s.Sid == "ReadSecrets"][0])) == join(" ", [
        for name in ["gossip-key", "tls-ca", "tls-cert", "tls-key", "token"] : "arn:aws:ssm:eu-central-1:123456789012:parameter/seepnode/orders/${name}"
    ])])
    error_message = "Nodes may not read their certificate, or more."
  }
  assert {
    condition     = output.console_url == "https://10.0.1.10:7600/"
    error_message = "The console is at ${output.console_url}."
  }
}
