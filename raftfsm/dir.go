package raftfsm

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// DirVersion is the version of the directory's layout that this program writes, and the highest it reads.
const DirVersion = 1

var (
	// ErrOtherCluster says that a directory or log belongs to another cluster than this node is to be in.
	ErrOtherCluster = errors.New("belongs to another cluster")
	// ErrOtherNode says that a directory belongs to a node of another name.
	ErrOtherNode = errors.New("belongs to another node")
	// ErrDirInUse says that another process has the directory open.
	ErrDirInUse = errors.New("is in use by another process")
)

// Stores are where Raft keeps its log, its vote and its snapshots. Close is called once, behind all use.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Close     func() error
}

// MemoryStores lose everything with the process: for tests.
func MemoryStores() *Stores {
	s := raft.NewInmemStore()
	return &Stores{Log: s, Stable: s, Snapshots: raft.NewInmemSnapshotStore(), Close: func() error { return nil }}
}

// Identity is what a data directory says of itself, in identity.json.
type Identity struct {
	Version int             `json:"version"`
	Node    topology.NodeID `json:"node"`
	Cluster uint64          `json:"cluster"` // 0: not known yet
}

const identityFile = "identity.json"

// startAnew is what a person can do about a damaged disk.
const startAnew = "where other nodes have copies, move this node's data directory away and start it with --join: it joins anew"

// ReadIdentity reads what dir says of itself; a directory without says the zero Identity. The error is ErrNewerVersion when only
// a newer program can read the directory.
func ReadIdentity(dir string) (Identity, error) {
	var id Identity
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(data, &id); err != nil {
		return id, fmt.Errorf("%s is damaged: %w; %s", path, err, startAnew)
	}
	if id.Version > DirVersion {
		return id, fmt.Errorf("data directory %s of version %d: %w", dir, id.Version, ErrNewerVersion)
	}
	if id.Version < 1 {
		return id, fmt.Errorf("%s is damaged: it has version %d; %s", path, id.Version, startAnew)
	}
	return id, nil
}

// ClaimDir makes dir, if need be, and the identity that node has in it, or says why it cannot have it. Cluster 0 takes any.
func ClaimDir(dir string, node topology.NodeID, cluster uint64) (Identity, error) {
	id, err := ReadIdentity(dir)
	if err != nil {
		return id, err
	}
	if id.Version == 0 {
		id = Identity{Version: DirVersion, Node: node, Cluster: cluster}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return id, err
		}
		return id, writeIdentity(dir, id)
	}
	if id.Node != node {
		return id, fmt.Errorf("data directory %s %w: %s, not %s (name this node %s, or give it another directory)", dir, ErrOtherNode, id.Node, node, id.Node)
	}
	if cluster != 0 && id.Cluster != 0 && id.Cluster != cluster {
		return id, otherCluster(dir, id.Cluster, cluster)
	}
	return id, nil
}

func otherCluster(dir string, has, want uint64) error {
	return fmt.Errorf("data directory %s %w: %x, not %x (join that one, or give this node another directory)", dir, ErrOtherCluster, has, want)
}

// writeIdentity replaces the file at once: a crash leaves the old or the new one.
func writeIdentity(dir string, id Identity) error {
	data, err := json.Marshal(id)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, identityFile+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, identityFile))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(dir, identityFile), err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// boltOptions are such that what was stored is on disk when that is answered, and what was not is there whole or not at all: bbolt fsyncs the
// pages of a transaction, then the page that names them. A loss of power is therefore to Raft's files what a kill is.
func boltOptions(path string) raftboltdb.Options {
	return raftboltdb.Options{
		Path:                    path,
		BoltOptions:             &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
		MsgpackUseNewTimeFormat: true,
	}
}

// openStores opens log.db and snapshots/ in dir. Snapshots older than the last two go.
func openStores(dir string, cached int, log *slog.Logger) (*Stores, error) {
	path := filepath.Join(dir, "log.db")
	bolt, err := raftboltdb.New(boltOptions(path))
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("data directory %s %w", dir, ErrDirInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w; %s", path, err, startAnew)
	}
	cache, err := raft.NewLogCache(cached, bolt)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, newRaftLogger(log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshots in %s: %w", dir, err), bolt.Close())
	}
	return &Stores{Log: cache, Stable: bolt, Snapshots: snapshots, Close: bolt.Close}, nil
}
