variable "name" {
  description = "Name of the fleet: part of the names of everything, and the value of the tag by which nodes find each other."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", var.name))
    error_message = "A name has 2 to 32 small letters, digits and dashes, begins with a letter and does not end with a dash."
  }
}

variable "subnet_ids" {
  description = "Subnets for seeds and pool, all of one VPC, 1 to 3, each best in a zone of its own. They need a way to the AWS API (SSM and EC2) and to package_url."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 1 && length(var.subnet_ids) <= 3 && length(distinct(var.subnet_ids)) == length(var.subnet_ids)
    error_message = "Give 1 to 3 different subnets."
  }
}

variable "seeds" {
  description = "Nodes that found the cluster and vote; they stay. With 3 one may be lost, with 5 two."
  type        = number
  default     = 3
  validation {
    condition     = contains([1, 3, 5], var.seeds)
    error_message = "Seeds vote, so there are 1, 3 or 5 of them."
  }
}

variable "seeds_run_partitions" {
  description = "Whether seeds run parts of queries, too, or only vote and keep copies."
  type        = bool
  default     = true
}

variable "ami_id" {
  description = "Machine image with systemd, curl 7.75 or later and cloud-init, such as Debian 12 or Amazon Linux 2023; with seepnode installed if package_url is not given."
  type        = string
  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "An image is ami- and hexadecimal digits."
  }
}

variable "package_url" {
  description = "Where nodes get seepnode from: https, a .deb or .tar.gz of make package. null: the image has it."
  type        = string
  default     = null
  validation {
    condition     = var.package_url == null || can(regex("^https://[A-Za-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9._~/%+-]+\\.(deb|tar\\.gz)$", var.package_url))
    error_message = "A package is an https address without query that ends in .deb or .tar.gz."
  }
}

variable "package_sha256" {
  description = "Checksum of the package; required with package_url."
  type        = string
  default     = null
  validation {
    condition     = (var.package_sha256 == null) == (var.package_url == null) && (var.package_sha256 == null || can(regex("^[0-9a-f]{64}$", var.package_sha256)))
    error_message = "A package needs its SHA-256 as 64 small hexadecimal digits, and only a package does."
  }
}

variable "gossip_key" {
  description = "Key of gossip, 32 bytes in base64 (head -c 32 /dev/urandom | base64). No state or plan holds it; it is sent when secrets_version grows."
  type        = string
  sensitive   = true
  ephemeral   = true
  validation {
    condition     = can(regex("^[A-Za-z0-9+/]{43}=$", var.gossip_key))
    error_message = "The key is 32 bytes in base64: 43 characters and =."
  }
}

variable "token" {
  description = "Token that requests to the HTTP API must bear (openssl rand -hex 32). No state or plan holds it; it is sent when secrets_version grows."
  type        = string
  sensitive   = true
  ephemeral   = true
  validation {
    condition     = can(regex("^[A-Za-z0-9._~+/=-]{16,}$", var.token)) && length(var.token) <= 1024
    error_message = "A token has 16 to 1024 letters, digits and . _ ~ + / = -."
  }
}

variable "tls_cert" {
  description = "Certificate of all nodes in PEM, with those between it and the authority: nodes then speak TLS with each other, and HTTP is HTTPS. In it stand the names and addresses that people ask for. Empty: no TLS, for private networks that you trust. A fleet has it from its first apply or never: nodes with and without do not talk to each other."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = (var.tls_cert == "") == (var.tls_ca == "")
    error_message = "TLS needs tls_cert, tls_key and tls_ca: all or none."
  }
  validation {
    condition     = var.tls_cert == "" || can(regex("^(-----BEGIN CERTIFICATE-----\\r?\\n[A-Za-z0-9+/=\\r\\n]+-----END CERTIFICATE-----\\s*)+$", var.tls_cert)) && length(var.tls_cert) <= 8192
    error_message = "Certificates are PEM and nothing else, at most 8192 characters in all."
  }
}

variable "tls_key" {
  description = "Key of tls_cert in PEM, without a password. No state or plan holds it; it is sent when secrets_version grows."
  type        = string
  default     = ""
  nullable    = false
  sensitive   = true
  ephemeral   = true
  validation {
    condition     = (var.tls_key == "") == (var.tls_cert == "")
    error_message = "TLS needs tls_cert, tls_key and tls_ca: all or none."
  }
  validation {
    condition     = var.tls_key == "" || can(regex("^-----BEGIN ((RSA|EC) )?PRIVATE KEY-----\\r?\\n[A-Za-z0-9+/=\\r\\n]+-----END ((RSA|EC) )?PRIVATE KEY-----\\s*$", var.tls_key)) && length(var.tls_key) <= 8192
    error_message = "A key is PEM and nothing else, without a password, at most 8192 characters."
  }
}

variable "tls_ca" {
  description = "Authorities in PEM: who has a certificate of one of them is a node, so give one of the fleet's own."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = var.tls_ca == "" || can(regex("^(-----BEGIN CERTIFICATE-----\\r?\\n[A-Za-z0-9+/=\\r\\n]+-----END CERTIFICATE-----\\s*)+$", var.tls_ca)) && length(var.tls_ca) <= 8192
    error_message = "Authorities are certificates in PEM and nothing else, at most 8192 characters in all."
  }
}

variable "secrets_version" {
  description = "Raise it to send another gossip_key, token or another tls_cert, tls_key and tls_ca. Nodes take them at their next start or systemctl reload; a reload is enough for those of TLS."
  type        = number
  default     = 1
  validation {
    condition     = var.secrets_version >= 1 && floor(var.secrets_version) == var.secrets_version
    error_message = "A version is a whole number from 1."
  }
}

variable "instance_type" {
  description = "Type of seeds and of pool nodes."
  type        = string
  default     = "m7g.large"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "An instance type is FAMILY.SIZE, like m7g.large."
  }
}

variable "market" {
  description = "How the pool buys: on-demand, spot, or spot-first, which takes on-demand where there is no spot. The account must have the service-linked role AWSServiceRoleForEC2Spot for the latter two."
  type        = string
  default     = "on-demand"
  validation {
    condition     = contains(["on-demand", "spot", "spot-first"], var.market)
    error_message = "A market is on-demand, spot or spot-first."
  }
}

variable "spares" {
  description = "Joined idle nodes that the pool keeps ready."
  type        = number
  default     = 1
  validation {
    condition     = var.spares >= 0 && var.spares <= 100 && floor(var.spares) == var.spares
    error_message = "Spares are a whole number from 0 to 100."
  }
}

variable "max_nodes" {
  description = "The most nodes that the pool lets the cluster have, seeds and spares included."
  type        = number
  default     = 20
  validation {
    condition     = var.max_nodes >= var.seeds + var.spares && var.max_nodes <= 1000 && floor(var.max_nodes) == var.max_nodes
    error_message = "The most nodes are a whole number that has room for seeds and spares, and at most 1000."
  }
}

variable "volume_gib" {
  description = "Size of a node's encrypted volume, which holds copies of other nodes' state."
  type        = number
  default     = 50
  validation {
    condition     = var.volume_gib >= 8 && var.volume_gib <= 16384 && floor(var.volume_gib) == var.volume_gib
    error_message = "A volume has 8 to 16384 GiB."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts volumes and secrets; null: the account's default ones."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]+$", var.kms_key_arn))
    error_message = "A key is the ARN of a KMS key, not of an alias."
  }
}

variable "http_cidrs" {
  description = "IPv4 networks that may reach the HTTP API; none but the nodes without."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for c in var.http_cidrs : can(cidrnetmask(c)) && !endswith(c, "/0")])
    error_message = "Give IPv4 networks like 10.0.0.0/8, and not the whole Internet: who has the token may do everything."
  }
}

variable "egress_cidrs" {
  description = "IPv4 networks that nodes may reach over HTTPS: the AWS API and package_url."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  validation {
    condition     = length(var.egress_cidrs) > 0 && alltrue([for c in var.egress_cidrs : can(cidrnetmask(c))])
    error_message = "Give IPv4 networks; nodes must reach the AWS API."
  }
}

variable "security_group_ids" {
  description = "Further security groups of all nodes, for what queries read and write."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for g in var.security_group_ids : can(regex("^sg-[0-9a-f]+$", g))])
    error_message = "A security group is sg- and hexadecimal digits."
  }
}

variable "agent" {
  description = "Further settings of all agents, keys of agent.yaml such as allow-path or log-format."
  type        = any
  default     = {}
  validation {
    condition     = can(keys(var.agent)) && length(setintersection(try(keys(var.agent), []), ["name", "join", "bootstrap-expect", "http", "token-file", "encrypt-key-file", "tls-cert", "tls-key", "tls-ca", "tag", "data-dir", "gossip-port", "data-port", "provider", "provider-option", "spares", "max-nodes", "instance"])) == 0
    error_message = "These settings are the module's own: name, join, bootstrap-expect, http, token-file, encrypt-key-file, tls-cert, tls-key, tls-ca, tag, data-dir, ports, provider, provider-option, spares, max-nodes, instance."
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for k in keys(var.tags) : !startswith(k, "seepnode:") && !startswith(k, "aws:")])
    error_message = "Tags that begin with seepnode: or aws: are not yours to give."
  }
}
