package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// network is a switch with a host for each agent, each in a network namespace of its own. A namespace lives as long as a thread of this
// process or an agent is in it, and interfaces end with their namespace, so that nothing remains even if this process is killed.
//
//	this process            the switch's namespace             an agent's namespace
//	sn1a2b (.254) ----veth---- outer --- bridge --- p1 ----veth---- eth0 (.1)
//
// What one host sends to another is lost while it takes the other for a wrong Ethernet address: a permanent neighbour entry, which needs
// neither packet filter nor traffic control of the kernel.
type network struct {
	prefix string // of all addresses: "198.18.7."
	outer  string // this process's interface
	center *launcher

	mu    sync.Mutex
	hosts map[int]*launcher
}

// outerHost is this process's number in the network.
const outerHost = 254

// CanNetwork says why agents cannot have a network each here, nil when they can.
func CanNetwork() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("network namespaces need ip(8) of iproute2: %w", err)
	}
	l, err := newNamespace()
	if err != nil {
		return err
	}
	defer l.close()
	return ip(l, "link add name br type bridge", "link add name one type veth peer name other")
}

// newNamespace is a launcher in a network namespace of its own, in which there is nothing.
func newNamespace() (*launcher, error) {
	return newLauncherIn(func() (int, error) {
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			return 0, fmt.Errorf("making a network namespace: %w", err)
		}
		return syscall.Gettid(), nil
	})
}

// ip runs commands of ip(8) in a launcher's namespace, nil for this process's.
func ip(l *launcher, commands ...string) error {
	command := exec.Command("ip", "-batch", "-")
	command.Stdin = strings.NewReader(strings.Join(commands, "\n"))
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	run := command.Run
	if l != nil {
		run = func() error { return l.do(command.Run) }
	}
	if err := run(); err != nil {
		return fmt.Errorf("ip -batch (%s): %w: %s", strings.Join(commands, "; "), err, strings.TrimSpace(said.String()))
	}
	return nil
}

func (l *launcher) namespace() string {
	return fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), l.thread)
}

func newNetwork() (_ *network, err error) {
	if err := CanNetwork(); err != nil {
		return nil, err
	}
	prefix, err := freePrefix()
	if err != nil {
		return nil, err
	}
	n := &network{prefix: prefix, outer: fmt.Sprintf("sn%08x", rand.Uint32()), hosts: map[int]*launcher{}}
	if n.center, err = newNamespace(); err != nil {
		return nil, err
	}
	// The outer end comes first: it ends with the switch's namespace, whatever happens.
	err = ip(nil, fmt.Sprintf("link add name %s address %s type veth peer name outer netns %s", n.outer, n.mac(outerHost), n.center.namespace()),
		fmt.Sprintf("address add %s/24 dev %s", n.address(outerHost), n.outer), fmt.Sprintf("link set dev %s up", n.outer))
	if err == nil {
		err = ip(n.center, "link add name br type bridge", "link set dev br up", "link set dev outer master br", "link set dev outer up")
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// freePrefix chooses 256 addresses that no interface of this host has, of those that are kept for measurements of networks (RFC 2544).
func freePrefix() (string, error) {
	taken, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for range 1000 {
		p := fmt.Sprintf("198.%d.%d.", 18+rand.IntN(2), rand.IntN(256))
		free := true
		for _, t := range taken {
			other, err := netip.ParsePrefix(t.String())
			free = free && (err != nil || !other.Overlaps(netip.MustParsePrefix(p+"0/24")))
		}
		if free {
			return p, nil
		}
	}
	return "", errors.New("no free network in 198.18.0.0/15")
}

func (n *network) address(host int) string { return fmt.Sprintf("%s%d", n.prefix, host) }

func (n *network) mac(host int) string { return fmt.Sprintf("02:5e:e9:00:00:%02x", host) }

// host makes a host and gives what starts processes on it, and its address.
func (n *network) host(number int) (*launcher, string, error) {
	l, err := newNamespace()
	if err != nil {
		return nil, "", err
	}
	port := fmt.Sprintf("p%d", number)
	err = ip(n.center, fmt.Sprintf("link add name %s type veth peer name eth0 address %s netns %s", port, n.mac(number), l.namespace()),
		fmt.Sprintf("link set dev %s master br", port), fmt.Sprintf("link set dev %s up", port))
	if err == nil {
		err = ip(l, "link set dev lo up", fmt.Sprintf("address add %s/24 dev eth0", n.address(number)), "link set dev eth0 up")
	}
	if err != nil {
		l.close()
		return nil, "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[number] = l
	return l, n.address(number), nil
}

func (n *network) reach(from, to int, reaches bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	mac := n.mac(to)
	if !reaches {
		mac = "02:5e:e9:ff:ff:ff" // nobody's
	}
	return ip(n.hosts[from], fmt.Sprintf("neighbour replace %s lladdr %s nud permanent dev eth0", n.address(to), mac))
}

func (n *network) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.hosts {
		l.close()
	}
	err := ip(nil, "link delete "+n.outer)
	n.center.close()
	return err
}
