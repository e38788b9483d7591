package claudecode

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

// The CLI's permission modes. Nobody is there to be asked: what a mode does not allow is denied.
const (
	modeBypass      = "bypassPermissions"
	modeAcceptEdits = "acceptEdits"
)

var modes = []string{modeAcceptEdits, modeBypass, "default", "dontAsk", "plan"}

// modelName is what the CLI takes for a model: an alias or an ID, never something that looks like a flag.
var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,127}$`)

func checkOptions(o providers.Options) error {
	switch {
	case o.Model != "" && !modelName.MatchString(o.Model):
		return &providers.FieldError{Field: "providerOptions.model", Reason: "it is no name of a model, such as sonnet or claude-sonnet-4-5"}
	case o.PermissionMode != "" && !slices.Contains(modes, o.PermissionMode):
		return &providers.FieldError{
			Field:  "providerOptions.permissionMode",
			Reason: fmt.Sprintf("%q is none of %s", o.PermissionMode, strings.Join(modes, ", ")),
		}
	case o.MaxTurns < 0:
		return &providers.FieldError{Field: "providerOptions.maxTurns", Reason: "it is negative; leave it out for no limit"}
	}
	return nil
}

func permissionMode(o providers.Options) string {
	switch {
	case o.PermissionMode != "":
		return o.PermissionMode
	case o.SkipPermissions != nil && !*o.SkipPermissions:
		return modeAcceptEdits
	default:
		return modeBypass
	}
}

// arguments are the CLI's. The repository's own settings, hooks and MCP servers are left out: they are code that
// would choose where the credential is sent.
func arguments(o providers.Options, session []string) []string {
	args := []string{
		"-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose",
		"--setting-sources", "user", "--strict-mcp-config",
		"--permission-mode", permissionMode(o),
	}
	if o.Model != "" {
		args = append(args, "--model", o.Model)
	}
	if o.MaxTurns > 0 {
		args = append(args, "--max-turns", strconv.Itoa(o.MaxTurns))
	}
	return append(args, session...)
}
