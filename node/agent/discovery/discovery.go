package discovery

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider/ec2"
)

// Limits.
const (
	addressesMax = 1024 // of one place
	fileBytesMax = 1 << 20
	lookUpWait   = 10 * time.Second
	// cloudFor is how long an answer of a cloud is good: all nodes of a cluster ask, and its API has limits.
	cloudFor = 30 * time.Second
)

// Finder finds. The zero value asks the system and the clouds.
type Finder struct {
	// Doubles for tests; nil: the real ones.
	LookupSRV  func(ctx context.Context, name string) ([]*net.SRV, error)
	LookupHost func(ctx context.Context, name string) ([]string, error)
	Peers      func(ctx context.Context, c ec2.PeerConfig) ([]string, error)
	Now        func() time.Time

	mu    sync.Mutex
	kept  []string
	of    string
	until time.Time
}

// Check says what is wrong with a place, without asking anybody.
func Check(place string) error {
	_, err := parse(place)
	return err
}

// place is what stands in a --join.
type place struct {
	host  string // HOST or HOST:PORT
	srv   string // name of SRV records
	name  string // host name, all of whose addresses are wanted
	port  string // of name; "": the default one
	file  string
	cloud *ec2.PeerConfig
}

func parse(text string) (p place, err error) {
	switch {
	case strings.HasPrefix(text, "file:"):
		if p.file = text[len("file:"):]; !filepath.IsAbs(p.file) {
			return p, fmt.Errorf("%q: give an absolute path, like file:/etc/seepnode/peers", text)
		}
	case strings.HasPrefix(text, "dns:"):
		name := text[len("dns:"):]
		if strings.HasPrefix(name, "_") {
			p.srv = name
			return p, checkHost(name)
		}
		p.name = name
		if host, port, err := net.SplitHostPort(name); err == nil {
			p.name, p.port = host, port
			if err := checkPort(port); err != nil {
				return p, err
			}
		}
		if _, err := netip.ParseAddr(p.name); err == nil {
			return p, fmt.Errorf("%q holds an address: give it without dns:", text)
		}
		return p, checkHost(p.name)
	case strings.Contains(text, "="):
		return parseCloud(text)
	default:
		p.host = text
		return p, checkAddress(text)
	}
	return p, nil
}

// parseCloud takes "provider=aws tag_key=.. tag_value=..": words KEY=VALUE with blanks between.
func parseCloud(text string) (p place, err error) {
	known := []string{"provider", "tag_key", "tag_value", "region", "endpoint", "addr_type"}
	words := map[string]string{}
	for _, w := range strings.Fields(text) {
		key, value, ok := strings.Cut(w, "=")
		if !ok || value == "" {
			return p, fmt.Errorf("%q in %q is no KEY=VALUE", w, text)
		}
		if !slices.Contains(known, key) {
			return p, fmt.Errorf("%q: %s is not known; there are %s", text, key, strings.Join(known, ", "))
		}
		if _, twice := words[key]; twice {
			return p, fmt.Errorf("%q: %s is there twice", text, key)
		}
		words[key] = value
	}
	switch {
	case words["provider"] != "aws":
		return p, fmt.Errorf("%q: provider=aws is the only provider that nodes are found through; other ways are HOST:PORT, dns: and file:", text)
	case words["tag_key"] == "" || words["tag_value"] == "":
		return p, fmt.Errorf("%q needs tag_key= and tag_value= of the instances that are nodes", text)
	case words["addr_type"] != "" && words["addr_type"] != "private_v4" && words["addr_type"] != "public_v4":
		return p, fmt.Errorf("%q: addr_type is private_v4 or public_v4", text)
	}
	p.cloud = &ec2.PeerConfig{Access: ec2.Access{Region: words["region"], Endpoint: words["endpoint"]}, TagKey: words["tag_key"], TagValue: words["tag_value"],
		Public: words["addr_type"] == "public_v4"}
	return p, nil
}

// checkAddress takes HOST and HOST:PORT.
func checkAddress(address string) error {
	host := address
	if _, err := netip.ParseAddr(address); err != nil && strings.Contains(address, ":") {
		h, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("%.60q: give HOST or HOST:PORT; an IPv6 address with a port stands in [ ]", address)
		}
		if err := checkPort(port); err != nil {
			return err
		}
		host = h
	}
	return checkHost(host)
}

func checkPort(port string) error {
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %q is no number from 1 to 65535", port)
	}
	return nil
}

func checkHost(host string) error {
	if host == "" || len(host) > 253 || strings.ContainsAny(host, " \t\r\n/@?#") || strings.Contains(host, "://") {
		return fmt.Errorf("%.60q is no host name or IP address", host)
	}
	return nil
}

// Find gives the addresses of a place, HOST or HOST:PORT each, in ascending order.
func (f *Finder) Find(ctx context.Context, text string) ([]string, error) {
	p, err := parse(text)
	if err != nil {
		return nil, err
	}
	if p.host != "" {
		return []string{p.host}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpWait)
	defer cancel()
	var out []string
	switch {
	case p.srv != "":
		out, err = f.findSRV(ctx, p.srv)
	case p.name != "":
		out, err = f.findName(ctx, p.name, p.port)
	case p.file != "":
		out, err = findFile(p.file)
	default:
		out, err = f.findCloud(ctx, text, p.cloud)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), addressesMax)], nil
}

func (f *Finder) findSRV(ctx context.Context, name string) ([]string, error) {
	lookup := f.LookupSRV
	if lookup == nil {
		lookup = func(ctx context.Context, name string) ([]*net.SRV, error) {
			_, list, err := net.DefaultResolver.LookupSRV(ctx, "", "", name)
			return list, err
		}
	}
	list, err := lookup(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("its SRV records cannot be had: %w", err)
	}
	var out []string
	for _, r := range list {
		if host := strings.TrimSuffix(r.Target, "."); host != "" && r.Port != 0 {
			out = append(out, net.JoinHostPort(host, strconv.Itoa(int(r.Port))))
		}
	}
	if len(out) == 0 {
		return nil, errors.New("it has no SRV records yet")
	}
	return out, nil
}

func (f *Finder) findName(ctx context.Context, name, port string) ([]string, error) {
	lookup := f.LookupHost
	if lookup == nil {
		lookup = net.DefaultResolver.LookupHost
	}
	list, err := lookup(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("its addresses cannot be had: %w", err)
	}
	if port == "" {
		return list, nil
	}
	for i, a := range list {
		list[i] = net.JoinHostPort(a, port)
	}
	return list, nil
}

// findFile reads the lines of a file that may come or change at any time.
func findFile(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	var out []string
	lines := bufio.NewScanner(&limitedReader{file, fileBytesMax})
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := checkAddress(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, line)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("there is no address in it yet")
	}
	return out, nil
}

// limitedReader fails behind its limit instead of ending there.
type limitedReader struct {
	file *os.File
	left int
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("it has more than %d bytes", fileBytesMax)
	}
	n, err := l.file.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

func (f *Finder) findCloud(ctx context.Context, text string, c *ec2.PeerConfig) ([]string, error) {
	now := time.Now
	if f.Now != nil {
		now = f.Now
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == text && now().Before(f.until) {
		return slices.Clone(f.kept), nil
	}
	peers := f.Peers
	if peers == nil {
		peers = ec2.Peers
	}
	list, err := peers(ctx, *c)
	if err != nil {
		return nil, fmt.Errorf("%w (instances are asked for in region %s)", err, cmp.Or(c.Region, "of the environment"))
	}
	f.kept, f.of, f.until = slices.Clone(list), text, now().Add(cloudFor)
	return list, nil
}
