# What an imitated account says. Without these a mock makes values up that are no regions, accounts or ARNs.

mock_data "aws_region" {
  defaults = { name = "eu-central-1" }
}

mock_data "aws_partition" {
  defaults = {
    partition  = "aws"
    dns_suffix = "amazonaws.com"
  }
}

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_subnet" {
  defaults = { vpc_id = "vpc-0a1b2c3d" }
}

mock_data "aws_ami" {
  defaults = { root_device_name = "/dev/xvda" }
}

mock_resource "aws_security_group" {
  defaults = { id = "sg-0a1b2c3d4e5f60718" }
}

mock_resource "aws_launch_template" {
  defaults = {
    id  = "lt-0a1b2c3d4e5f60718"
    arn = "arn:aws:ec2:eu-central-1:123456789012:launch-template/lt-0a1b2c3d4e5f60718"
  }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/seepnode-mocked" }
}

mock_resource "aws_iam_instance_profile" {
  defaults = { arn = "arn:aws:iam::123456789012:instance-profile/seepnode-mocked" }
}

mock_resource "aws_instance" {
  defaults = { private_ip = "10.0.1.10" }
}
