package terraform

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/agent/port/porttest"
)

const (
	gossipKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	token     = "a-token/of+the=fleet~0123456789"
)

// curl is what boot.sh and the script that fetches secrets see of the world: it answers what they may ask for, notes each argument,
// and refuses all else.
const curl = `#!/bin/bash
printf '%s\n' "$@" >>"$WORLD/arguments"
config= out= url= put= session= previous=
for a in "$@"; do
  case $previous in
    -K) config=$(cat) ;;
    -o) out=$a ;;
    -X) put=$a ;;
    -H) session+=$a$'\n' ;;
  esac
  previous=$a
  url=$a
done
if [ -n "$config" ]; then
  url=$(sed -n 's/^url = "\(.*\)"$/\1/p' <<<"$config")
  put=$(sed -n 's/^request = \(.*\)$/\1/p' <<<"$config")
  session=$config
fi
pem() { # pem NAME: a file as a text of JSON
  printf '{"Parameter":{"ARN":"x","Type":"SecureString","Value":"%s","Version":1}}' "$(awk '{ printf "%s\\n", $0 }' "$WORLD/$1")"
}
metadata=http://169.254.169.254/latest
case $url in
  $metadata/api/token)
    [ "$put" = PUT ] && [[ $session == *X-aws-ec2-metadata-token-ttl-seconds:* ]] || exit 22
    printf session-of-metadata
    exit ;;
  $metadata/*)
    [[ $session == *"X-aws-ec2-metadata-token: session-of-metadata"* ]] || exit 22 ;;
esac
case $url in
  $metadata/meta-data/instance-id) printf i-0a1b2c3d4e5f60718 ;;
  $metadata/meta-data/placement/availability-zone) printf eu-central-1b ;;
  $metadata/meta-data/instance-life-cycle) printf '%s' "$MARKET" ;;
  $metadata/meta-data/iam/security-credentials/) printf a-role ;;
  $metadata/meta-data/iam/security-credentials/a-role)
    printf '{\n  "Code" : "Success",\n  "AccessKeyId" : "AKIA0",\n  "SecretAccessKey" : "secret/of+aws",\n  "Token" : "session/of+aws=="\n}' ;;
  https://ssm.eu-central-1.amazonaws.com/)
    for line in 'aws-sigv4 = "aws:amz:eu-central-1:ssm"' 'user = "AKIA0:secret/of+aws"' 'header = "X-Amz-Security-Token: session/of+aws=="' \
      'header = "X-Amz-Target: AmazonSSM.GetParameter"' 'header = "Content-Type: application/x-amz-json-1.1"'; do
      grep -qxF -- "$line" <<<"$config" || exit 22
    done
    case $(sed -n 's/^data = "\(.*\)"$/\1/p' <<<"$config") in
      '{\"Name\":\"/seepnode/orders/gossip-key\",\"WithDecryption\":true}') printf '{"Parameter":{"ARN":"x","Type":"SecureString","Value":"%s","Version":1}}' "$GOSSIP_KEY" ;;
      '{\"Name\":\"/seepnode/orders/token\",\"WithDecryption\":true}') printf '{"Parameter":{"ARN":"x","Type":"SecureString","Value":"%s","Version":1}}' "$TOKEN" ;;
      '{\"Name\":\"/seepnode/orders/tls-ca\",\"WithDecryption\":true}') pem tls-ca ;;
      '{\"Name\":\"/seepnode/orders/tls-cert\",\"WithDecryption\":true}') pem tls-cert ;;
      '{\"Name\":\"/seepnode/orders/tls-key\",\"WithDecryption\":true}') pem tls-key ;;
      *) exit 22 ;;
    esac ;;
  https://packages.example.com/*) cp "$WORLD/package" "$out" ;;
  *) echo "asked for $url" >&2; exit 6 ;;
esac
`

// host is a directory that boot.sh takes for the instance's files, and what it finds in PATH.
type host struct {
	t           *testing.T
	root, world string
	settings    map[string]string
	env         []string
}

func newHost(t *testing.T) *host {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	h := &host{t: t, root: t.TempDir(), world: t.TempDir(), settings: map[string]string{
		"ROLE": "worker", "REGION": "eu-central-1", "SSM_ENDPOINT": "ssm.eu-central-1.amazonaws.com", "GOSSIP_KEY_PARAMETER": "/seepnode/orders/gossip-key",
		"TOKEN_PARAMETER": "/seepnode/orders/token", "TLS_PARAMETERS": "", "PACKAGE_URL": "", "PACKAGE_SHA256": "",
		"AGENT": base64.StdEncoding.EncodeToString([]byte("\"join\":\n- \"10.0.0.1\"\n\"log-format\": \"json\"\n")),
	}}
	h.program("curl", curl)
	for _, name := range []string{"systemctl", "systemd-sysusers", "dpkg", "chown"} {
		h.program(name, "#!/bin/sh\necho "+name+" \"$@\" >>\"$WORLD/calls\"\n")
	}
	h.env = append(os.Environ(), "PATH="+filepath.Join(h.world, "bin")+":"+os.Getenv("PATH"), "WORLD="+h.world, "ROOT="+h.root,
		"MARKET=on-demand", "GOSSIP_KEY="+gossipKey, "TOKEN="+token)
	return h
}

func (h *host) program(name, text string) { h.write(filepath.Join(h.world, "bin", name), text, 0o755) }

func (h *host) write(file, text string, mode os.FileMode) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) read(file string) string {
	h.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// installed says that the image has seepnode.
func (h *host) installed() *host {
	h.write(filepath.Join(h.root, "usr/bin/seepnode"), "#!/bin/sh\n", 0o755)
	return h
}

// boot runs user data as main.tf makes them: settings, then the script.
func (h *host) boot() (said string, err error) {
	h.t.Helper()
	data := "#!/bin/bash\n"
	for name, value := range h.settings {
		data += fmt.Sprintf("%s='%s'\n", name, value)
	}
	file := filepath.Join(h.world, "user-data")
	h.write(file, data+h.read("boot.sh"), 0o700)
	return h.run(file)
}

func (h *host) run(name string, args ...string) (said string, err error) {
	command := exec.CommandContext(h.t.Context(), name, args...)
	command.Env = h.env
	out, err := command.CombinedOutput()
	return string(out), err
}

func (h *host) mustBoot() string {
	h.t.Helper()
	said, err := h.boot()
	if err != nil {
		h.t.Fatalf("boot: %v\n%s", err, said)
	}
	return said
}

func TestScriptsAreBash(t *testing.T) {
	for _, script := range []string{"boot.sh", "test.sh"} {
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

func TestInstanceIsConfiguredAndStarted(t *testing.T) {
	h := newHost(t).installed()
	h.env = append(h.env, "MARKET=spot")
	h.mustBoot()
	const want = `"join":
- "10.0.0.1"
"log-format": "json"
name: "i-0a1b2c3d4e5f60718"
http: "0.0.0.0:7600"
token-file: /run/seepnode/token
encrypt-key-file: /run/seepnode/gossip.key
tag:
  zone: "eu-central-1b"
  role: "worker"
  spot: "true"
`
	if got := h.read(filepath.Join(h.root, "etc/seepnode/agent.yaml")); got != want {
		t.Errorf("agent.yaml is\n%s", got)
	}
	if got := h.read(filepath.Join(h.world, "calls")); got != "systemctl daemon-reload\nsystemctl enable --now seepnode.service\n" {
		t.Errorf("it calls\n%s", got)
	}
	unit := h.read(filepath.Join(h.root, "etc/systemd/system/seepnode.service.d/ec2.conf"))
	for _, line := range []string{"ExecStartPre=+/usr/local/lib/seepnode/secrets /run/seepnode", "Environment=AWS_REGION=eu-central-1"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("the service lacks %q:\n%s", line, unit)
		}
	}
}

func TestAgentTakesItsConfiguration(t *testing.T) {
	if testing.Short() {
		t.Skip("builds seepnode, which takes long: it runs without -short")
	}
	h := newHost(t).installed()
	h.settings["ROLE"] = "control"
	// What tests/apply.tftest.hcl wants of a seed, written as yamlencode does.
	h.settings["AGENT"] = base64.StdEncoding.EncodeToString([]byte(`"allow-path":
- "/data"
"bootstrap-expect": 3
"join":
- "provider=aws tag_key=seepnode:fleet tag_value=orders region=eu-central-1"
"log-format": "json"
"max-nodes": 20
"provider": "ec2"
"provider-option":
  "market": "spot-first"
  "region": "eu-central-1"
  "subnets": "subnet-0a,subnet-0b,subnet-0c"
  "template": "seepnode-orders-pool"
"spares": 2
`))
	h.mustBoot()
	program := filepath.Join(h.world, "seepnode")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/seepnode/seepnode/node/cmd/seepnode").CombinedOutput(); err != nil {
		t.Fatalf("building seepnode: %v\n%s", err, out)
	}
	// The secrets are not where the service has them.
	config := filepath.Join(h.root, "etc/seepnode/agent.yaml")
	h.fetch()
	h.write(config, strings.ReplaceAll(h.read(config), "/run/seepnode", h.world), 0o644)
	out, err := exec.CommandContext(t.Context(), program, "agent", "--config", config, "--config-check").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"role: control", "provider: ec2", "max-nodes: 20", "subnet-0a,subnet-0b,subnet-0c", "tag_value=orders"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in force:\n%s", want, out)
		}
	}
}

// TestNodesGetTheirCertificate ends where the agent has read certificate, key and authority and found that they belong together.
func TestNodesGetTheirCertificate(t *testing.T) {
	h := newHost(t).installed()
	h.settings["TLS_PARAMETERS"] = "/seepnode/orders/tls"
	files := porttest.New(t).Files("10.0.1.10")
	for name, file := range map[string]string{"tls-cert": files.Cert, "tls-key": files.Key, "tls-ca": files.CA} {
		h.write(filepath.Join(h.world, name), h.read(file), 0o600)
	}
	said := h.mustBoot() + h.fetch()
	config := h.read(filepath.Join(h.root, "etc/seepnode/agent.yaml"))
	for _, name := range []string{"tls-cert", "tls-key", "tls-ca"} {
		if line := name + ": /run/seepnode/" + name + ".pem\n"; !strings.Contains(config, line) {
			t.Errorf("agent.yaml lacks %q:\n%s", line, config)
		}
		fetched := filepath.Join(h.world, name+".pem")
		if info, err := os.Stat(fetched); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", fetched, info, err)
		}
	}
	here := port.CredentialFiles{Cert: filepath.Join(h.world, "tls-cert.pem"), Key: filepath.Join(h.world, "tls-key.pem"), CA: filepath.Join(h.world, "tls-ca.pem")}
	if _, err := port.OpenCredentials(here, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	key := strings.Split(h.read(files.Key), "\n")[1]
	if strings.Contains(said, key) || strings.Contains(h.read(filepath.Join(h.world, "arguments")), key) {
		t.Error("the key is printed, or an argument of a program")
	}
	for path, text := range h.files() {
		if strings.Contains(text, key) {
			t.Errorf("the key is in %s", path)
		}
	}
	unit := h.read(filepath.Join(h.root, "etc/systemd/system/seepnode.service.d/ec2.conf"))
	if !strings.Contains(unit, "\nExecReload=+/usr/local/lib/seepnode/secrets /run/seepnode\n") {
		t.Errorf("a reload does not fetch another certificate:\n%s", unit)
	}
}

// fetch runs what the service runs before it starts.
func (h *host) fetch() string {
	h.t.Helper()
	said, err := h.run(filepath.Join(h.root, "usr/local/lib/seepnode/secrets"), h.world)
	if err != nil {
		h.t.Fatalf("secrets: %v\n%s", err, said)
	}
	return said
}

func TestSecretsGoIntoFilesAndNowhereElse(t *testing.T) {
	h := newHost(t).installed()
	said := h.mustBoot() + h.fetch()
	for file, want := range map[string]string{"gossip.key": gossipKey, "token": token} {
		path := filepath.Join(h.world, file)
		if got := h.read(path); got != want+"\n" {
			t.Errorf("%s is %q", file, got)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}
	if calls := h.read(filepath.Join(h.world, "calls")); strings.Count(calls, "chown seepnode: "+h.world) != 2 {
		t.Errorf("the files are not the service's: %s", calls)
	}
	arguments := h.read(filepath.Join(h.world, "arguments"))
	for _, secret := range []string{gossipKey, token, "secret/of+aws", "session/of+aws"} {
		if strings.Contains(said, secret) {
			t.Errorf("%q is printed", secret)
		}
		if strings.Contains(arguments, secret) {
			t.Errorf("%q is an argument of a program", secret)
		}
		for path, text := range h.files() {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, path)
			}
		}
	}
}

// files are all files of the instance.
func (h *host) files() map[string]string {
	found := map[string]string{}
	err := filepath.WalkDir(h.root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found[path] = h.read(path)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

func TestParameterThatIsNotThereIsNamed(t *testing.T) {
	h := newHost(t).installed()
	h.mustBoot()
	h.env = append(h.env, "TOKEN=")
	said, err := h.run(filepath.Join(h.root, "usr/local/lib/seepnode/secrets"), h.world)
	if err == nil || !strings.Contains(said, "no value of the parameter /seepnode/orders/token") {
		t.Fatalf("%v: %s", err, said)
	}
}

func TestPackageIsInstalledOnlyWithItsChecksum(t *testing.T) {
	for _, c := range []struct{ kind, calls string }{{"deb", "dpkg -i "}, {"tar.gz", "systemd-sysusers --root="}} {
		t.Run(c.kind, func(t *testing.T) {
			h := newHost(t)
			files := t.TempDir()
			h.write(filepath.Join(files, "usr/bin/seepnode"), "#!/bin/sh\n", 0o755)
			out, err := exec.CommandContext(t.Context(), "tar", "-C", files, "-czf", filepath.Join(h.world, "package"), "usr").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			h.settings["PACKAGE_URL"] = "https://packages.example.com/seepnode_1.2.3_amd64." + c.kind
			h.settings["PACKAGE_SHA256"] = strings.Repeat("0", 64)
			if said, err := h.boot(); err == nil {
				t.Fatalf("a package of another checksum was taken:\n%s", said)
			}
			if _, err := os.Stat(filepath.Join(h.world, "calls")); err == nil {
				t.Fatal("something was done with a package of another checksum")
			}
			h.settings["PACKAGE_SHA256"] = fmt.Sprintf("%x", sha256.Sum256([]byte(h.read(filepath.Join(h.world, "package")))))
			if c.kind == "deb" {
				h.installed() // by dpkg, which is imitated
			}
			h.mustBoot()
			if calls := h.read(filepath.Join(h.world, "calls")); !strings.HasPrefix(calls, c.calls) {
				t.Errorf("it calls\n%s", calls)
			}
		})
	}
}

func TestImageWithoutSeepnodeIsTold(t *testing.T) {
	if said, err := newHost(t).boot(); err == nil || !strings.Contains(said, "give package_url") {
		t.Fatalf("%v: %s", err, said)
	}
}
