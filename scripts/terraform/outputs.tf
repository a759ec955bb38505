output "console_url" {
  description = "The HTTP API, at the first seed; any other node answers as well. There is no console in a browser yet: /v1/status is where to begin."
  value       = "${local.tls ? "https" : "http"}://${aws_instance.seed[0].private_ip}:${local.http_port}/"
}

output "addresses" {
  description = "All seeds for SEEPNODE_ADDR; with TLS SEEPNODE_TLS_CA names a file with tls_ca, too."
  value       = join(",", [for s in aws_instance.seed : "${s.private_ip}:${local.http_port}"])
}

output "join" {
  description = "What --join of a further agent in this VPC says."
  value       = local.join
}

output "seed_ids" {
  description = "The seeds' instances."
  value       = aws_instance.seed[*].id
}

output "launch_template_id" {
  description = "From which the pool starts nodes."
  value       = aws_launch_template.pool.id
}

output "security_group_id" {
  description = "The nodes' security group, for rules of databases and brokers that queries use."
  value       = aws_security_group.node.id
}

output "role_names" {
  description = "Roles of seeds and of pool nodes, for rights that queries need."
  value       = { for k, r in aws_iam_role.node : k => r.name }
}
