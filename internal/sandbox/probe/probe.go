// Package probe tries what a sandbox must refuse, and what it must leave. It is for tests, which run it in a process inside a
// sandbox, and in one outside to see that the same attempt gets through there.
package probe

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/ai-coding-worker/ai-coding-worker/internal/sandbox"
)

// Target is what the attempts are aimed at. All of it belongs to the user who tries.
type Target struct {
	OutsideFile   string // exists, beyond what may be read
	OutsideFolder string // beyond what may be written
	InsideFolder  string // may be written
	Process       int    // runs outside the sandbox
	AbstractName  string // an abstract unix socket, listened on outside the sandbox, without its leading @
	ClosedPort    int    // listened on at 127.0.0.1, and closed by the policy
	OpenPort      int    // listened on at 127.0.0.1
}

// Attempt is something to try.
type Attempt struct {
	Name  string
	Layer sandbox.Layer // that refuses it; empty: a sandbox leaves it
	try   func(Target) error
}

// Attempts are all of them but those that take a capability.
func Attempts() []Attempt {
	var all []Attempt
	for _, of := range [][]Attempt{files(), network(), processes(), calls()} {
		all = append(all, of...)
	}
	return all
}

// Privileged are those that take a capability, which who made a user namespace has in it.
func Privileged() []Attempt { return sockets() }

// Main makes the attempts and writes what became of them, as JSON by name: "" for one that got through, else the reason.
func Main(target string, w io.Writer, attempts []Attempt) error {
	var t Target
	if err := json.Unmarshal([]byte(target), &t); err != nil {
		return fmt.Errorf("read the probe's target: %w", err)
	}
	results := make(map[string]string)
	for _, a := range attempts {
		results[a.Name] = ""
		if err := a.try(t); err != nil {
			results[a.Name] = err.Error()
		}
	}
	return json.NewEncoder(w).Encode(results)
}
