# Every node may find the others and read the fleet's secrets. Seeds, which lead the cluster, may start nodes from the fleet's launch
# template and end those that were started so; seeds themselves they cannot end.

resource "aws_iam_role" "node" {
  for_each    = toset(["seed", "pool"])
  name        = "seepnode-${var.name}-${each.key}"
  description = "Nodes of the seepnode fleet ${var.name}: ${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.${data.aws_partition.here.dns_suffix}" }
    }]
  })
  tags = local.tags
}

resource "aws_iam_instance_profile" "node" {
  for_each = aws_iam_role.node
  name     = each.value.name
  role     = each.value.name
  tags     = local.tags
}

locals {
  allow_find = {
    Sid      = "FindNodes"
    Effect   = "Allow"
    Action   = "ec2:DescribeInstances"
    Resource = "*" # it takes no other
    Condition = {
      StringEquals = { "aws:RequestedRegion" = local.region }
    }
  }
  allow_secrets = concat([{
    Sid      = "ReadSecrets"
    Effect   = "Allow"
    Action   = "ssm:GetParameter"
    Resource = [for name in values(local.parameters) : "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter${name}"]
    }], var.kms_key_arn == null ? [] : [{
    Sid      = "DecryptSecrets"
    Effect   = "Allow"
    Action   = "kms:Decrypt"
    Resource = var.kms_key_arn
    Condition = {
      StringEquals = {
        "kms:ViaService" = "ssm.${local.region}.${data.aws_partition.here.dns_suffix}"
        "kms:EncryptionContext:PARAMETER_ARN" = [
          for name in values(local.parameters) : "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter${name}"
        ]
      }
    }
  }])

  # Keys of the tags that the pool gives what it starts.
  pool_tags = distinct(concat(["seepnode:cluster", "seepnode:token", "Name"], keys(local.tags)))

  allow_pool = concat([
    {
      Sid      = "StartFromTemplate"
      Effect   = "Allow"
      Action   = "ec2:RunInstances"
      Resource = ["${local.ec2}:instance/*", "${local.ec2}:volume/*"]
      Condition = {
        ArnEquals                   = { "ec2:LaunchTemplate" = aws_launch_template.pool.arn }
        StringLike                  = { "aws:RequestTag/seepnode:token" = "?*" }
        "ForAllValues:StringEquals" = { "aws:TagKeys" = local.pool_tags }
      }
    },
    {
      Sid    = "StartWith"
      Effect = "Allow"
      Action = "ec2:RunInstances"
      Resource = concat(
        ["arn:${local.partition}:ec2:${local.region}::image/${var.ami_id}", aws_launch_template.pool.arn, "${local.ec2}:network-interface/*"],
        [for id in var.subnet_ids : "${local.ec2}:subnet/${id}"],
        [for id in local.security_group_ids : "${local.ec2}:security-group/${id}"],
        var.market == "on-demand" ? [] : ["${local.ec2}:spot-instances-request/*"],
      )
      Condition = {
        ArnEquals = { "ec2:LaunchTemplate" = aws_launch_template.pool.arn }
      }
    },
    {
      Sid      = "TagWhatStarts"
      Effect   = "Allow"
      Action   = "ec2:CreateTags"
      Resource = ["${local.ec2}:instance/*", "${local.ec2}:volume/*"]
      Condition = {
        StringEquals                = { "ec2:CreateAction" = "RunInstances" }
        "ForAllValues:StringEquals" = { "aws:TagKeys" = local.pool_tags }
      }
    },
    {
      Sid      = "EndPoolNodes"
      Effect   = "Allow"
      Action   = "ec2:TerminateInstances"
      Resource = "${local.ec2}:instance/*"
      Condition = {
        ArnEquals  = { "ec2:InstanceProfile" = aws_iam_instance_profile.node["pool"].arn }
        StringLike = { "aws:ResourceTag/seepnode:token" = "?*" }
      }
    },
    {
      Sid      = "GiveThePoolItsRole"
      Effect   = "Allow"
      Action   = "iam:PassRole"
      Resource = aws_iam_role.node["pool"].arn
      Condition = {
        StringEquals = { "iam:PassedToService" = "ec2.${data.aws_partition.here.dns_suffix}" }
      }
    },
    ], [for statement in [
      {
        Sid      = "EncryptVolumes"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
        Resource = var.kms_key_arn
        Condition = {
          StringEquals = { "kms:ViaService" = "ec2.${local.region}.${data.aws_partition.here.dns_suffix}" }
        }
      },
      {
        Sid      = "LetVolumesUseTheKey"
        Effect   = "Allow"
        Action   = "kms:CreateGrant"
        Resource = var.kms_key_arn
        Condition = {
          StringEquals = { "kms:ViaService" = "ec2.${local.region}.${data.aws_partition.here.dns_suffix}" }
          Bool         = { "kms:GrantIsForAWSResource" = "true" }
        }
      },
  ] : statement if var.kms_key_arn != null])
}

resource "aws_iam_role_policy" "node" {
  for_each = {
    seed = concat([local.allow_find], local.allow_secrets, local.allow_pool)
    pool = concat([local.allow_find], local.allow_secrets)
  }
  name   = "seepnode"
  role   = aws_iam_role.node[each.key].name
  policy = jsonencode({ Version = "2012-10-17", Statement = each.value })
}
