//go:build !race

package agentproc

// processEnv is what every process of this program needs.
var processEnv = []string{}

// raceDetector says that processes of this program take more memory than can be limited.
const raceDetector = false
