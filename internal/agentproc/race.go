//go:build race

package agentproc

// processEnv is what every process of this program needs: one with the race detector would sleep for a second at its exit.
var processEnv = []string{"GORACE=atexit_sleep_ms=0"}

// raceDetector says that processes of this program take more memory than can be limited.
const raceDetector = true
