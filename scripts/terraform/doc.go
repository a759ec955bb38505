// Package terraform is a Terraform module that brings up a fleet of nodes on Amazon EC2: seeds, and a launch template of which the cluster
// itself starts and ends further nodes. variables.tf says what it takes, outputs.tf what it gives; example is a root module that uses it.
//
// make terraform-test runs the tests below tests/ against an imitated provider. The Go test here runs boot.sh, which starts a node, in a
// directory of its own with an imitated metadata service, parameter store and systemd.
package terraform
