# The example is a fleet.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "example" {
  module {
    source = "./example"
  }
  variables {
    subnet_ids     = ["subnet-0a", "subnet-0b", "subnet-0c"]
    ami_id         = "ami-0a1b2c3d4e5f60718"
    package_url    = "https://packages.example.com/seepnode_1.2.3_arm64.deb"
    package_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
    gossip_key     = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    token          = "0123456789abcdef0123456789abcdef"
    tls_key        = "" # said, since terraform test forgets the default of what is ephemeral
  }
  assert {
    condition     = output.join == "provider=aws tag_key=seepnode:fleet tag_value=orders region=eu-central-1"
    error_message = "The join string is ${output.join}."
  }
}
