# What a plan says: nothing is open, unencrypted or without IMDSv2. This file only plans.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  name       = "orders"
  subnet_ids = ["subnet-0a", "subnet-0b", "subnet-0c"]
  ami_id     = "ami-0a1b2c3d4e5f60718"
  gossip_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
  token      = "0123456789abcdef0123456789abcdef"
}

run "seeds_are_spread_over_zones" {
  command = plan
  assert {
    condition     = [for s in aws_instance.seed : s.subnet_id] == ["subnet-0a", "subnet-0b", "subnet-0c"]
    error_message = "The three seeds are not in the three subnets."
  }
  assert {
    condition     = alltrue([for s in aws_instance.seed : s.tags["seepnode:fleet"] == "orders"])
    error_message = "A seed lacks the tag by which others find it."
  }
}

run "five_seeds_in_one_zone" {
  command = plan
  variables {
    seeds      = 5
    subnet_ids = ["subnet-0a"]
  }
  assert {
    condition     = length(aws_instance.seed) == 5 && alltrue([for s in aws_instance.seed : s.subnet_id == "subnet-0a"])
    error_message = "There are not five seeds in the one subnet."
  }
}

run "metadata_needs_a_session_and_volumes_are_encrypted" {
  command = plan
  assert {
    condition = alltrue(concat(
      [for s in aws_instance.seed : s.metadata_options[0].http_tokens == "required" && s.metadata_options[0].http_put_response_hop_limit == 1],
      [aws_launch_template.pool.metadata_options[0].http_tokens == "required", aws_launch_template.pool.metadata_options[0].http_put_response_hop_limit == 1],
    ))
    error_message = "IMDSv2 is not required of all, or is reached from behind the instance."
  }
  assert {
    condition = alltrue(concat(
      [for s in aws_instance.seed : s.root_block_device[0].encrypted],
      [aws_launch_template.pool.block_device_mappings[0].ebs[0].encrypted == "true", aws_launch_template.pool.block_device_mappings[0].device_name == "/dev/xvda"],
    ))
    error_message = "A volume is not encrypted, or the template's is not the image's root volume."
  }
}

run "only_the_needed_ports_are_open" {
  command = plan
  variables {
    http_cidrs = ["10.0.0.0/8"]
  }
  assert {
    condition = [for rules in [aws_vpc_security_group_ingress_rule.node, aws_vpc_security_group_egress_rule.node] :
      join(", ", sort([for r in rules : "${r.ip_protocol} ${r.from_port}-${r.to_port} ${r.referenced_security_group_id}"]))
      ] == [for _ in range(2) :
      "tcp 7601-7601 sg-0a1b2c3d4e5f60718, tcp 7602-7602 sg-0a1b2c3d4e5f60718, udp 7601-7601 sg-0a1b2c3d4e5f60718"
    ]
    error_message = "Between nodes other ports are open than those of gossip and data."
  }
  assert {
    condition     = [for r in aws_vpc_security_group_ingress_rule.http : "${r.ip_protocol} ${r.from_port}-${r.to_port} ${r.cidr_ipv4}"] == ["tcp 7600-7600 10.0.0.0/8"]
    error_message = "HTTP is open to others than those that were named."
  }
  assert {
    condition     = [for r in aws_vpc_security_group_egress_rule.https : "${r.ip_protocol} ${r.from_port}-${r.to_port}"] == ["tcp 443-443"]
    error_message = "Nodes reach more than HTTPS beyond the fleet."
  }
}

run "nobody_but_nodes_reaches_http_by_default" {
  command = plan
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.http) == 0
    error_message = "HTTP is open though nobody was named."
  }
}

run "secrets_are_encrypted_and_in_no_plan" {
  command = plan
  assert {
    condition     = aws_ssm_parameter.token.type == "SecureString" && aws_ssm_parameter.gossip_key.type == "SecureString"
    error_message = "A secret is kept as it is."
  }
  assert {
    condition     = aws_ssm_parameter.token.value_wo == null && aws_ssm_parameter.gossip_key.value_wo == null
    error_message = "The plan holds a secret."
  }
  assert {
    condition     = aws_ssm_parameter.token.name == "/seepnode/orders/token" && aws_ssm_parameter.gossip_key.name == "/seepnode/orders/gossip-key"
    error_message = "Secrets have other names than those that the role may read."
  }
}
