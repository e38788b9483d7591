// Package all is the list of the providers that a worker can offer: a new one gets its line here.
package all

import (
	"github.com/ai-coding-worker/ai-coding-worker/providers"
	"github.com/ai-coding-worker/ai-coding-worker/providers/claudecode"
	"github.com/ai-coding-worker/ai-coding-worker/providers/codex"
	"github.com/ai-coding-worker/ai-coding-worker/providers/script"
)

// Config says which of them a worker offers.
type Config struct {
	Script     bool   // whether requests may be shell scripts
	ClaudePath string // of Claude Code's command line interface, absolute; empty where it is not installed
	CodexPath  string // of Codex's, likewise
}

// New makes the registry.
func New(cfg Config) *providers.Registry {
	var list []providers.Provider
	if cfg.ClaudePath != "" {
		list = append(list, claudecode.New(claudecode.Config{Path: cfg.ClaudePath}))
	}
	if cfg.CodexPath != "" {
		list = append(list, codex.New(codex.Config{Path: cfg.CodexPath}))
	}
	if cfg.Script {
		list = append(list, script.New(script.Config{}))
	}
	return providers.NewRegistry(list...)
}

// Known is the registry of all that there are, installed here or not. It is for names: what is in it cannot run.
func Known() *providers.Registry {
	return New(Config{Script: true, ClaudePath: "claude", CodexPath: "codex"})
}
