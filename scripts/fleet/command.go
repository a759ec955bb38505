package fleet

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Command runs seepnode against the voters, as a person does.
func (f *Fleet) Command(ctx context.Context, args ...string) error {
	var addresses []string
	for i := range Voters {
		addresses = append(addresses, f.Agent(i).HTTP)
	}
	c := exec.CommandContext(ctx, f.config.Program, append(slices.Clone(args), "--address", strings.Join(addresses, ","))...)
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEEPNODE_") })
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("seepnode %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}
