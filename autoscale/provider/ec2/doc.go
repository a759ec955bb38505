// Package ec2 starts nodes as instances of Amazon EC2 from a launch template, finds nodes by their tags, and hears of the end of spot
// instances.
//
// Instances carry the tags seepnode:cluster and seepnode:token; the token is also the client token of RunInstances, so that a request
// that is repeated starts nothing twice. IMDSv2 is required of them whatever the template says. The machine image and user data are the
// template's; they must start
//
//	seepnode agent --join 'provider=aws tag_key=... tag_value=...' --instance imds
//
// The options of people, each a --provider-option KEY=VALUE, beside those that all providers have:
//
//	template   launch template: id or name, :VERSION behind it or its default one; must be given
//	market     on-demand (default), spot, or spot-first: on-demand when there is no spot
//	subnets    a+b: tried in turn when one has no capacity; none: the template's
//	type       instance type; none: the template's
//	tags       k=v+k=v: tags of instances and their volumes, beside seepnode's own and the template's
//	region     none: what the SDK finds
//	endpoint   URL of the EC2 API, instead of Amazon's: a VPC endpoint, something that speaks EC2's API, tests
//
// Credentials, region and endpoints come from where the SDK looks: environment, files, the instance's role. Needed rights:
// ec2:RunInstances, ec2:CreateTags (with the keys of tags, too), ec2:DescribeInstances, ec2:TerminateInstances, and iam:PassRole for the template's role.
//
// Only function values of the SDK's client are handed around, never the client in an interface: otherwise the linker keeps all of its
// seven hundred methods, 30 MB.
package ec2
