package providers

import (
	"slices"
	"strings"
)

// Registry finds providers by name. It is built once and then only read, so it is safe for concurrent use.
type Registry struct {
	byName map[string]Provider
	names  []string
}

// NewRegistry makes a registry of the given providers. It panics where two share a name: that is a mistake of the program.
func NewRegistry(all ...Provider) *Registry {
	r := &Registry{byName: make(map[string]Provider)}
	for _, p := range all {
		info := p.Info()
		r.names = append(r.names, info.Name)
		for _, name := range append([]string{info.Name}, info.Aliases...) {
			key := normalize(name)
			if _, taken := r.byName[key]; taken {
				panic("providers: two providers are named " + name)
			}
			r.byName[key] = p
		}
	}
	slices.Sort(r.names)
	return r
}

// Lookup finds a provider by its name or an alias, in any case, with space around it ignored.
func (r *Registry) Lookup(name string) (Provider, bool) {
	p, ok := r.byName[normalize(name)]
	return p, ok
}

// Names lists the canonical names, sorted.
func (r *Registry) Names() []string { return slices.Clone(r.names) }

func normalize(name string) string { return strings.ToLower(strings.TrimSpace(name)) }
