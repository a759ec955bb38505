# Nodes reach each other on the ports of gossip and data, people the HTTP API, and nodes the AWS API. Nothing else.

resource "aws_security_group" "node" {
  name_prefix = "seepnode-${var.name}-"
  description = "Nodes of the seepnode fleet ${var.name}"
  vpc_id      = data.aws_subnet.first.vpc_id
  tags        = merge(local.tags, { Name = "seepnode ${var.name}" })
  lifecycle {
    create_before_destroy = true
  }
}

locals {
  between_nodes = {
    gossip-tcp = { protocol = "tcp", port = local.gossip_port }
    gossip-udp = { protocol = "udp", port = local.gossip_port }
    data       = { protocol = "tcp", port = local.data_port }
  }
}

resource "aws_vpc_security_group_ingress_rule" "node" {
  for_each                     = local.between_nodes
  security_group_id            = aws_security_group.node.id
  referenced_security_group_id = aws_security_group.node.id
  description                  = each.key
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "node" {
  for_each                     = local.between_nodes
  security_group_id            = aws_security_group.node.id
  referenced_security_group_id = aws_security_group.node.id
  description                  = each.key
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "http" {
  for_each          = toset(var.http_cidrs)
  security_group_id = aws_security_group.node.id
  cidr_ipv4         = each.value
  description       = "HTTP API"
  ip_protocol       = "tcp"
  from_port         = local.http_port
  to_port           = local.http_port
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each          = toset(var.egress_cidrs)
  security_group_id = aws_security_group.node.id
  cidr_ipv4         = each.value
  description       = "AWS API and package"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
