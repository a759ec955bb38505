package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// Config says what is started.
type Config struct {
	Cluster string // names the directory below Dir
	Dir     string // shared by all processes of the machine that may lead
	Program string // this binary
	// Args are those of the program for an instance with a directory of its own.
	Args func(token, dir string) []string
	Env  []string // added to this process's
	// Keep says that what an instance has on its disk is still needed: then its directory stays when it has ended. Nil: never.
	Keep func(token string) bool
	Now  func() time.Time
}

// Local is a provider.Provider.
type Local struct {
	config Config

	made bool // New made Config.Dir

	mu       sync.Mutex
	closed   bool
	children map[string]*child // by token
	ending   map[string]bool   // by token: somebody sees to its end
	stop     chan struct{}     // closed by Close
	enders   sync.WaitGroup
}

// child is a process that this one started.
type child struct {
	process *os.Process
	pipe    io.Closer // its standard input
	done    chan struct{}
}

// killAfter is how long an instance that is to end may take to say goodbye.
const killAfter = 5 * time.Second

// endEvery is how often it is looked whether an instance has ended.
const endEvery = 50 * time.Millisecond

// startWait is how long another process may take between making the directory of an instance and writing its state.
const startWait = 10 * time.Second

// New makes one.
func New(c Config) (*Local, error) {
	if c.Cluster == "" || c.Dir == "" || c.Program == "" {
		return nil, errors.New("local provider: the cluster, directory or program has no name")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &Local{config: c, children: map[string]*child{}, ending: map[string]bool{}, stop: make(chan struct{})}
	_, err := os.Stat(c.Dir)
	l.made = errors.Is(err, fs.ErrNotExist)
	return l, os.MkdirAll(l.root(), 0o700)
}

func (l *Local) root() string { return filepath.Join(l.config.Dir, l.config.Cluster) }

// Name implements provider.Provider.
func (l *Local) Name() string { return "local" }

// record is an instance's state file.
type record struct {
	Token      string  `json:"token"`
	Process    process `json:"process"`
	LaunchedMs int64   `json:"launched_ms"`
	StopMs     int64   `json:"stop_ms,omitempty"` // when it was told to end
}

const recordName = "instance.json"

// Launch implements provider.Provider. What instances that have ended left is removed.
func (l *Local) Launch(ctx context.Context, r provider.Request) (provider.Instance, error) {
	if err := errors.Join(provider.CheckToken(r.Token), ctx.Err()); err != nil {
		return provider.Instance{}, err
	}
	if err := l.collect(ctx, r.Token); err != nil {
		return provider.Instance{}, err
	}
	dir := filepath.Join(l.root(), r.Token)
	if err := os.MkdirAll(l.root(), 0o700); err != nil {
		return provider.Instance{}, fmt.Errorf("start an instance: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return l.launched(dir)
	} else if err != nil {
		return provider.Instance{}, fmt.Errorf("start an instance: %w", err)
	}
	rec, err := l.start(r.Token, dir)
	if err != nil {
		return provider.Instance{}, errors.Join(fmt.Errorf("start an instance: %w", err), os.RemoveAll(dir))
	}
	return rec.instance(true), nil
}

// launched gives what was started before in a directory.
func (l *Local) launched(dir string) (provider.Instance, error) {
	rec, err := readRecord(dir)
	if err != nil {
		return provider.Instance{}, fmt.Errorf("the instance in %s is being started by another process, or its start was broken off: %w", dir, err)
	}
	return rec.instance(rec.Process.alive()), nil
}

// start starts the program in an instance's directory.
func (l *Local) start(token, dir string) (*record, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	cmd := exec.Command(l.config.Program, l.config.Args(token, dir)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), l.config.Env...)
	cmd.SysProcAttr = ownGroup() // a Ctrl-C in the terminal is for the parent
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("this process is ending")
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{process: cmd.Process, pipe: pipe, done: make(chan struct{})}
	if old := l.children[token]; old != nil {
		_ = old.pipe.Close() // the other end is gone
	}
	l.children[token] = c
	go func() {
		defer close(c.done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	rec := &record{Token: token, LaunchedMs: l.config.Now().UnixMilli()}
	if rec.Process, err = processOf(cmd.Process.Pid); err == nil {
		err = writeRecord(dir, rec)
	}
	if err != nil {
		c.kill()
		return nil, err
	}
	return rec, nil
}

func (c *child) kill() {
	_ = c.process.Kill() // it has ended, or ends
	_ = c.pipe.Close()
	<-c.done
}

func (r *record) instance(alive bool) provider.Instance {
	i := provider.Instance{ID: r.Token, Token: r.Token, State: provider.Running, LaunchedMs: r.LaunchedMs, Address: fmt.Sprintf("process %d", r.Process.PID)}
	if !alive || r.StopMs != 0 {
		i.State = provider.Stopping
	}
	return i
}

// Terminate implements provider.Provider. A process gets a moment to say goodbye. What instances that have ended left is removed.
func (l *Local) Terminate(ctx context.Context, ids []string) error {
	var errs []error
	for _, id := range ids {
		if err := errors.Join(provider.CheckToken(id), ctx.Err()); err != nil {
			errs = append(errs, err)
			continue
		}
		dir := filepath.Join(l.root(), id)
		rec, err := readRecord(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if rec.StopMs == 0 && rec.Process.alive() {
			rec.StopMs = l.config.Now().UnixMilli()
			errs = append(errs, writeRecord(dir, rec), rec.Process.signal(syscall.SIGTERM))
		}
		l.seeTo(dir, rec)
	}
	return errors.Join(append(errs, l.collect(ctx, ""))...)
}

// seeTo has a process that was told to end do so, and removes what it leaves, without the caller's waiting for it.
func (l *Local) seeTo(dir string, rec *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.ending[rec.Token] {
		return
	}
	l.ending[rec.Token] = true
	l.enders.Go(func() {
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.ending, rec.Token)
		}()
		tick := time.NewTicker(endEvery)
		defer tick.Stop()
		for rec.Process.alive() {
			if l.config.Now().UnixMilli()-rec.StopMs >= killAfter.Milliseconds() {
				_ = rec.Process.signal(syscall.SIGKILL) // it may have ended just now
			}
			select {
			case <-tick.C:
			case <-l.stop:
				return // whoever comes next collects it
			}
		}
		if l.keeps(rec.Token) {
			return // it may have been started again meanwhile, or will be
		}
		_ = l.remove(dir, rec.Token) // whoever comes next collects what is left
	})
}

// remove removes what an instance that has ended left.
func (l *Local) remove(dir, token string) error {
	l.mu.Lock()
	c := l.children[token]
	delete(l.children, token)
	l.mu.Unlock()
	if c != nil {
		_ = c.pipe.Close() // the other end is gone
	}
	return os.RemoveAll(dir)
}

// collect removes what instances left that have ended, whoever started them, and sees to the end of those that were told to end by a
// process that is gone. It leaves the instance of one token alone.
func (l *Local) collect(ctx context.Context, but string) error {
	var errs []error
	err := l.each(ctx, func(dir string, e fs.DirEntry, rec *record) {
		switch {
		case e.Name() == but:
		case rec == nil:
			errs = append(errs, l.sweep(dir, e))
		case !rec.Process.alive() && !l.keeps(rec.Token):
			errs = append(errs, l.remove(dir, rec.Token))
		case !rec.Process.alive():
		case rec.StopMs != 0:
			l.seeTo(dir, rec)
		}
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("remove what instances left: %w", err)
	}
	return nil
}

// Revive starts again, with what is on their disks, instances that have ended and of which something is still needed. It gives their
// tokens.
func (l *Local) Revive(ctx context.Context) (tokens []string, err error) {
	var errs []error
	err = l.each(ctx, func(dir string, _ fs.DirEntry, rec *record) {
		if rec == nil || rec.Process.alive() || !l.keeps(rec.Token) || l.isEnding(rec.Token) {
			return
		}
		if _, err := l.start(rec.Token, dir); err != nil {
			errs = append(errs, err)
			return
		}
		tokens = append(tokens, rec.Token)
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		err = fmt.Errorf("start again what is still needed: %w", err)
	}
	return tokens, err
}

func (l *Local) isEnding(token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ending[token]
}

// each goes through the directories of instances, by name; rec is nil where there is no state file.
func (l *Local) each(ctx context.Context, do func(dir string, e fs.DirEntry, rec *record)) error {
	entries, err := os.ReadDir(l.root())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := filepath.Join(l.root(), e.Name())
		rec, err := readRecord(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		do(dir, e, rec)
	}
	return errors.Join(errs...)
}

// List implements provider.Provider. It changes nothing: what has ended is passed over.
func (l *Local) List(ctx context.Context) ([]provider.Instance, error) {
	var out []provider.Instance
	err := l.each(ctx, func(_ string, _ fs.DirEntry, rec *record) {
		if rec != nil && rec.Process.alive() {
			out = append(out, rec.instance(true))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	slices.SortFunc(out, func(a, b provider.Instance) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// sweep removes a directory whose start was broken off.
func (l *Local) sweep(dir string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil || !e.IsDir() || l.config.Now().Sub(info.ModTime()) < startWait {
		return nil // gone, or another process is at it
	}
	return os.RemoveAll(dir)
}

// Close ends all processes that this one started and removes what they leave and nobody needs. Twice is fine.
func (l *Local) Close() error {
	l.mu.Lock()
	if !l.closed {
		close(l.stop)
	}
	l.closed = true
	children := l.children
	l.children = map[string]*child{}
	l.mu.Unlock()
	l.enders.Wait()
	var errs []error
	for token, c := range children {
		c.kill()
		if !l.keeps(token) {
			errs = append(errs, os.RemoveAll(filepath.Join(l.root(), token)))
		}
	}
	if os.Remove(l.root()) == nil && l.made { // they go when they are empty
		_ = os.Remove(l.config.Dir)
	}
	return errors.Join(errs...)
}

func (l *Local) keeps(token string) bool { return l.config.Keep != nil && l.config.Keep(token) }

// Tokens are those of the processes that this one started and that have not been seen to end, ascending.
func (l *Local) Tokens() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.children))
}

func readRecord(dir string) (*record, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return nil, err
	}
	rec := new(record)
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, recordName), err)
	}
	if rec.Token != filepath.Base(dir) || rec.Process.PID <= 1 {
		return nil, fmt.Errorf("%s is not the state of the instance in that directory", filepath.Join(dir, recordName))
	}
	return rec, nil
}

// writeRecord replaces the state file whole.
func writeRecord(dir string, rec *record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, fmt.Sprintf("%s.%d", recordName, os.Getpid()))
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, recordName))
}
