//go:build !race

package agentproc

// processEnv is what every process of this program needs.
var processEnv = []string{}
