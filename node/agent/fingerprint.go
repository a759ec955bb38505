package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/sys/cpu"

	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// fingerprint is what two processes must share to replace each other: the engine's semantics, the architecture with its level and
// whether it fuses multiplications (which the standard library's mathematics asks at run time), the Go release, and with operators
// of its own the binary.
func fingerprint(ownOperators bool) (topology.Fingerprint, error) {
	parts := []string{fmt.Sprintf("semantics-%d", engine.Semantics), architecture(), fused(), runtime.Version()}
	if ownOperators {
		hash, err := binaryHash()
		if err != nil {
			return "", fmt.Errorf("the fingerprint of a binary with operators of its own: %w", err)
		}
		parts = append(parts, "binary-"+hash)
	}
	return topology.Fingerprint(strings.Join(parts, "/")), nil
}

// architecture is GOARCH with the level that the binary was built for: "amd64.v1".
func architecture() string {
	setting := map[string]string{"amd64": "GOAMD64", "arm64": "GOARM64", "arm": "GOARM", "ppc64le": "GOPPC64", "ppc64": "GOPPC64",
		"riscv64": "GORISCV64", "386": "GO386", "mips64": "GOMIPS64", "mips64le": "GOMIPS64"}[runtime.GOARCH]
	if info, ok := debug.ReadBuildInfo(); ok && setting != "" {
		for _, s := range info.Settings {
			if s.Key == setting {
				return runtime.GOARCH + "." + s.Value
			}
		}
	}
	return runtime.GOARCH
}

func fused() string {
	switch runtime.GOARCH {
	case "amd64", "386":
		if !cpu.X86.HasFMA {
			return "nofma"
		}
	case "arm":
		if !cpu.ARM.HasVFPv4 {
			return "nofma"
		}
	}
	return "fma"
}

// binaryHash is of the file that this process runs, which does not change.
var binaryHash = sync.OnceValues(func() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
})
