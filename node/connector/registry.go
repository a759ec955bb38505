package connector

import (
	"fmt"
	"sort"
	"sync"
)

// Registry holds connectors by name. The zero value is empty and ready; safe for concurrent use.
type Registry struct {
	mu   sync.RWMutex
	defs map[string]*Definition
}

// Register adds a connector; a name can be taken once.
func (r *Registry) Register(d *Definition) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.defs[d.Name]; ok {
		return fmt.Errorf("connector %q is registered twice", d.Name)
	}
	if r.defs == nil {
		r.defs = map[string]*Definition{}
	}
	r.defs[d.Name] = d
	return nil
}

// Lookup finds a connector.
func (r *Registry) Lookup(name string) (*Definition, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	d, ok := r.defs[name]
	return d, ok
}

// Names lists the connectors, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := make([]string, 0, len(r.defs))
	for n := range r.defs {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
