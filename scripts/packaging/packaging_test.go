package packaging

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program is what is packaged: that of make build.
const program = "../../bin/seepnode"

// run runs a command and gives what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var failed bytes.Buffer
	command := exec.CommandContext(t.Context(), name, args...)
	command.Stderr = &failed
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, failed.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// small is a program that takes no time to be packaged.
func small(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho another program\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// build packages a program as a version.
func build(t *testing.T, program, version string) (deb, tarball string) {
	t.Helper()
	for _, tool := range []string{"dpkg", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("there is nothing to be packaged, run make build: %v", err)
	}
	t.Setenv("SEEPNODE_VERSION", version)
	dir := t.TempDir()
	run(t, "./build.sh", program, dir)
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	tars, _ := filepath.Glob(filepath.Join(dir, "*.tar.gz"))
	if len(debs) != 1 || len(tars) != 1 {
		t.Fatalf("built %v and %v", debs, tars)
	}
	return debs[0], tars[0]
}

// files are the regular files below a directory, with their permissions and contents.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, root)] = info.Mode().String() + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPackageAndTarHoldTheSameFiles(t *testing.T) {
	deb, tarball := build(t, program, "v1.2.3")
	fromDeb, fromTar := t.TempDir(), t.TempDir()
	run(t, "dpkg-deb", "-x", deb, fromDeb)
	run(t, "tar", "-C", fromTar, "-xzf", tarball)
	a, b := files(t, fromDeb), files(t, fromTar)
	want := []string{"/etc/seepnode/agent.yaml", "/usr/bin/seepnode", "/usr/lib/systemd/system/seepnode.service", "/usr/lib/sysusers.d/seepnode.conf", "/usr/share/doc/seepnode/copyright"}
	for _, found := range []map[string]string{a, b} {
		var names []string
		for name := range found {
			names = append(names, name)
		}
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("files %v, want %v", names, want)
		}
	}
	for _, name := range want {
		if a[name] != b[name] {
			t.Errorf("%s differs", name)
		}
	}
	if out := run(t, filepath.Join(fromTar, "usr/bin/seepnode"), "version"); !strings.Contains(out, "seepnode") {
		t.Errorf("version says %q", out)
	}
}

func TestPackageSaysWhatItIs(t *testing.T) {
	deb, _ := build(t, small(t), "v1.2.3-4-gabcdef0")
	if got := run(t, "dpkg-deb", "-f", deb, "Package", "Version", "Architecture"); got != "Package: seepnode\nVersion: 1.2.3+4+gabcdef0\nArchitecture: "+run(t, "go", "env", "GOARCH") {
		t.Errorf("fields %q", got)
	}
	if got := run(t, "dpkg-deb", "-I", deb, "conffiles"); got != "/etc/seepnode/agent.yaml" {
		t.Errorf("conffiles %q", got)
	}
}

func TestVersionsSortAsTheyCameToBe(t *testing.T) {
	var last string
	for _, described := range []string{"abcdef0", "v1.2.3", "v1.2.3-4-gabcdef0", "v1.2.3-14-gabcdef0", "v1.10.0"} {
		deb, _ := build(t, small(t), described)
		version := run(t, "dpkg-deb", "-f", deb, "Version")
		if last != "" {
			run(t, "dpkg", "--compare-versions", last, "lt", version) // fails when it is not
		}
		last = version
	}
}

func TestTheSameProgramGivesTheSameBytes(t *testing.T) {
	file := small(t)
	deb, tarball := build(t, file, "v1.2.3")
	again, tarAgain := build(t, file, "v1.2.3")
	for _, pair := range [][2]string{{deb, again}, {tarball, tarAgain}} {
		a, errA := os.ReadFile(pair[0])
		b, errB := os.ReadFile(pair[1])
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v", filepath.Base(pair[0]), errors.Join(errA, errB))
		}
	}
}

// TestPackageIsInstalledUpgradedRemovedAndPurged does so in a directory, whose maintainer scripts run outside of it.
func TestPackageIsInstalledUpgradedRemovedAndPurged(t *testing.T) {
	first, _ := build(t, program, "v1.2.3")
	second, _ := build(t, small(t), "v1.2.4")
	if os.Geteuid() != 0 {
		t.Skip("dpkg gives files to root: needs root")
	}
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "var/lib/dpkg/status"), "")
	dpkg := func(args ...string) {
		t.Helper()
		run(t, "dpkg", append([]string{"--root=" + root, "--force-script-chrootless", "--force-confold", "--log=/dev/null"}, args...)...)
	}
	has := func(path string) bool {
		_, err := os.Stat(filepath.Join(root, path))
		return err == nil
	}
	config, state := filepath.Join(root, "etc/seepnode/agent.yaml"), filepath.Join(root, "var/lib/seepnode/vault")

	dpkg("--install", first)
	if passwd := read(t, filepath.Join(root, "etc/passwd")); !strings.Contains(passwd, "seepnode:") || !strings.Contains(passwd, ":/var/lib/seepnode:/usr/sbin/nologin") {
		t.Errorf("no user: %s", passwd)
	}
	program := filepath.Join(root, "usr/bin/seepnode")
	if got := run(t, program, "version"); !strings.Contains(got, "seepnode") {
		t.Errorf("version says %q", got)
	}
	if got := run(t, program, "agent", "--config", config, "--config-check"); !strings.Contains(got, "gossip-port: 7601") {
		t.Errorf("the configuration is %s", got)
	}

	write(t, config, "http: 127.0.0.1:8600\n")
	if err := os.MkdirAll(filepath.Dir(state), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, state, "copies of others' state")
	dpkg("--install", second)
	if got := run(t, program, "version"); got != "another program" {
		t.Errorf("after the upgrade the program says %q", got)
	}
	if got := read(t, config); got != "http: 127.0.0.1:8600\n" {
		t.Errorf("the upgrade changed the configuration to %q", got)
	}
	dpkg("--remove", "seepnode")
	if has("usr/bin/seepnode") || !has("etc/seepnode/agent.yaml") || !has("var/lib/seepnode/vault") {
		t.Error("removing takes the program, and neither configuration nor state")
	}
	dpkg("--purge", "seepnode")
	if has("etc/seepnode") || has("var/lib/seepnode") {
		t.Error("purging leaves configuration or state")
	}
}

func TestServiceIsOneThatSystemdTakes(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip(err)
	}
	here, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "seepnode.service")
	write(t, unit, strings.ReplaceAll(read(t, "seepnode.service"), "/usr/bin/seepnode", here))
	run(t, "systemd-analyze", "verify", "--man=no", unit)
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
