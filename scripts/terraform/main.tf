# A fleet of seepnode nodes on EC2: seeds that found the cluster and stay, and a launch template from which the cluster itself starts and
# ends further nodes as load asks for them (the pool).

data "aws_region" "here" {}

data "aws_partition" "here" {}

data "aws_caller_identity" "me" {}

data "aws_subnet" "node" {
  for_each = toset(var.subnet_ids)
  id       = each.value
  lifecycle {
    postcondition {
      condition     = self.vpc_id == data.aws_subnet.first.vpc_id
      error_message = "All subnets must be of one VPC."
    }
  }
}

data "aws_subnet" "first" {
  id = var.subnet_ids[0]
}

data "aws_ami" "node" {
  owners = ["self", "amazon", "aws-marketplace", "136693071363"] # the last one is Debian
  filter {
    name   = "image-id"
    values = [var.ami_id]
  }
}

locals {
  region    = data.aws_region.here.name
  partition = data.aws_partition.here.partition
  account   = data.aws_caller_identity.me.account_id
  ec2       = "arn:${local.partition}:ec2:${local.region}:${local.account}"

  tag_key = "seepnode:fleet"
  tags    = merge(var.tags, { (local.tag_key) = var.name })
  join    = "provider=aws tag_key=${local.tag_key} tag_value=${var.name} region=${local.region}"

  # By name: the template holds user data, so these cannot hold its id.
  pool_template = "seepnode-${var.name}-pool"

  # Ports are those of the README.
  http_port   = 7600
  gossip_port = 7601
  data_port   = 7602

  security_group_ids = concat([aws_security_group.node.id], var.security_group_ids)
}

# What differs between one start and the next is asked of the instance; see boot.sh.
locals {
  agent_common = merge(var.agent, { join = [local.join] })
  # A node that names its instance may be given back: pool nodes alone do.
  agent_pool = merge(local.agent_common, { instance = "imds" })
  agent_seed = merge(local.agent_common, {
    bootstrap-expect = var.seeds
    provider         = "ec2"
    spares           = var.spares
    max-nodes        = var.max_nodes
    provider-option = {
      template = local.pool_template
      subnets  = join(",", var.subnet_ids)
      market   = var.market
      region   = local.region
    }
  })
  boot = {
    for role, agent in { seed = local.agent_seed, pool = local.agent_pool } : role => join("\n", [
      "#!/bin/bash",
      "ROLE='${role == "pool" ? "worker" : var.seeds_run_partitions ? "" : "control"}'",
      "REGION='${local.region}'",
      "SSM_ENDPOINT='ssm.${local.region}.${data.aws_partition.here.dns_suffix}'",
      "GOSSIP_KEY_PARAMETER='${local.parameters.gossip_key}'",
      "TOKEN_PARAMETER='${local.parameters.token}'",
      "TLS_PARAMETERS='${local.tls ? "/seepnode/${var.name}/tls" : ""}'",
      "PACKAGE_URL='${var.package_url == null ? "" : var.package_url}'",
      "PACKAGE_SHA256='${var.package_sha256 == null ? "" : var.package_sha256}'",
      "AGENT='${base64encode(yamlencode(agent))}'",
      file("${path.module}/boot.sh"),
    ])
  }
}

resource "aws_instance" "seed" {
  count                       = var.seeds
  ami                         = var.ami_id
  instance_type               = var.instance_type
  subnet_id                   = var.subnet_ids[count.index % length(var.subnet_ids)]
  vpc_security_group_ids      = local.security_group_ids
  iam_instance_profile        = aws_iam_instance_profile.node["seed"].name
  user_data_base64            = base64gzip(local.boot["seed"])
  user_data_replace_on_change = false

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  root_block_device {
    encrypted             = true
    kms_key_id            = var.kms_key_arn
    volume_type           = "gp3"
    volume_size           = var.volume_gib
    delete_on_termination = true
    tags                  = merge(local.tags, { Name = "seepnode ${var.name} seed ${count.index + 1}" })
  }

  tags = merge(local.tags, { Name = "seepnode ${var.name} seed ${count.index + 1}" })

  lifecycle {
    # A new image or user data is for new nodes: a seed is replaced when you say so (terraform apply -replace), one after the other.
    ignore_changes = [ami, user_data_base64]
    precondition {
      condition     = length(base64gzip(local.boot["seed"])) <= 21844 # 16 KiB in base64
      error_message = "The user data is larger than the 16 KiB that EC2 takes: give fewer settings in agent."
    }
  }
  depends_on = [aws_iam_role_policy.node, aws_ssm_parameter.gossip_key, aws_ssm_parameter.token, aws_ssm_parameter.tls]
}

resource "aws_launch_template" "pool" {
  name                                 = local.pool_template
  description                          = "Nodes that the cluster ${var.name} starts and ends itself"
  image_id                             = var.ami_id
  instance_type                        = var.instance_type
  update_default_version               = true
  instance_initiated_shutdown_behavior = "terminate"
  vpc_security_group_ids               = local.security_group_ids
  user_data                            = base64gzip(local.boot["pool"])

  iam_instance_profile {
    arn = aws_iam_instance_profile.node["pool"].arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  block_device_mappings {
    device_name = data.aws_ami.node.root_device_name
    ebs {
      encrypted             = "true"
      kms_key_id            = var.kms_key_arn
      volume_type           = "gp3"
      volume_size           = var.volume_gib
      delete_on_termination = "true"
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume"]
    content {
      resource_type = tag_specifications.value
      tags          = local.tags
    }
  }

  tags = local.tags
}
