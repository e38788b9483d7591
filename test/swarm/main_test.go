//go:build swarm

// Package swarm_test tries the fleet of swarm.yml on a real Swarm: scripts/test-swarm prepares the machine and runs it.
// Its tests share one fleet and run one after another.
package swarm_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/internal/githost"
	"github.com/ai-coding-worker/ai-coding-worker/internal/modeltest"
)

const (
	stack    = "unified-worker-stack"
	workers  = stack + "_unified-worker"
	front    = "http://127.0.0.1:5001"
	gitToken = "ghp_CANARYgitTOKENofTHEcaller0123456789"
	modelKey = "sk-ant-api03-CANARYmodelKEYofTHEfleet0123456789"
	ownToken = "ghp_CANARYownTOKENofTHEworkers0123456789"
	apiKey   = "aicw_CANARYapiKEYofTHEfleet0123456789"
	rootKey  = "CANARYminioROOTpassword0123456789"
	storeKey = "CANARYminioWORKERsecret0123456789"
	leaseTTL = 12 * time.Second

	workerImage = "ai-coding-worker:test" // other images of the tests begin with it
)

// canaries are the secrets that must stay where they are.
var canaries = []string{gitToken, modelKey, ownToken, apiKey, rootKey, storeKey}

// fleet is what all tests use.
var fleet struct {
	dir, env, aicw string // a folder for files, the .env of the deployment and the client
	gateway        string // this machine's address, as containers see it
	git            *githost.Host
	model          *modeltest.Endpoint
	modelURL       string // as containers see it
}

func TestMain(m *testing.M) {
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test-swarm:", err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	if err := makeRoom(); err != nil {
		return 0, err
	}
	if fleet.dir, err = os.MkdirTemp("", "aicw-swarm-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(fleet.dir)
	stop, err := surroundings()
	if err != nil {
		return 0, err
	}
	defer stop()
	begun := time.Now()
	out, err := exec.Command("../../deploy-swarm.sh", "--env", fleet.env).CombinedOutput()
	defer removeFleet()
	if err != nil {
		return 0, fmt.Errorf("deploy: %w\n%s", err, out)
	}
	fmt.Fprintf(os.Stderr, "deployed and answering after %.1f s\n", time.Since(begun).Seconds())
	return m.Run(), nil
}

// makeRoom removes the fleet of a test that was killed before it could do so. Another fleet is left alone.
func makeRoom() error {
	image, err := exec.Command("docker", "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", workers).Output()
	switch {
	case err != nil: // there is none
		return nil
	case !strings.HasPrefix(string(image), workerImage):
		return fmt.Errorf("a stack %s runs on this machine: the test would use its place", stack)
	}
	removeFleet()
	return nil
}

// surroundings are a git host and a model that containers can reach, the client, and the deployment's variables.
func surroundings() (stop func(), err error) {
	gateway, err := exec.Command("docker", "network", "inspect", "docker_gwbridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").Output()
	if err != nil {
		return nil, fmt.Errorf("find this machine's address for containers: %w", err)
	}
	fleet.gateway = strings.TrimSpace(string(gateway))
	if fleet.git, err = githost.Start(githost.Config{Addr: fleet.gateway + ":0", Token: gitToken, AnonymousRead: true}); err != nil {
		return nil, err
	}
	if fleet.model, err = modeltest.Start(); err != nil {
		return nil, err
	}
	forward, err := expose(fleet.model.URL)
	if err != nil {
		return nil, err
	}
	fleet.modelURL = "http://" + forward.Addr().String()
	fleet.aicw = filepath.Join(fleet.dir, "aicw")
	if out, err := exec.Command("go", "build", "-o", fleet.aicw, "../../cmd/aicw").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build aicw: %w\n%s", err, out)
	}
	stop = func() { _ = errors.Join(forward.Close(), fleet.model.Close(), fleet.git.Close()) }
	return stop, writeEnv()
}

// expose makes a server on loopback reachable for containers.
func expose(url string) (net.Listener, error) {
	listener, err := net.Listen("tcp", fleet.gateway+":0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go join(conn, strings.TrimPrefix(url, "http://"))
		}
	}()
	return listener, nil
}

func join(conn net.Conn, addr string) {
	defer conn.Close()
	behind, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer behind.Close()
	go func() { _, _ = io.Copy(behind, conn); behind.Close() }()
	_, _ = io.Copy(conn, behind)
}

func writeEnv() error {
	fleet.env = filepath.Join(fleet.dir, "env")
	lines := []string{
		"WORKER_IMAGE=" + workerImage, "FRONT_IMAGE=ai-coding-worker-front:test", "MINIO_IMAGE=ai-coding-worker-minio:test",
		"REPLICAS=2", "API_KEYS=" + apiKey,
		"MINIO_ROOT_USER=root-test", "MINIO_ROOT_PASSWORD=" + rootKey, "MINIO_ACCESS_KEY=worker-test", "MINIO_SECRET_KEY=" + storeKey,
		"GITHUB_ACCESS_TOKEN=" + ownToken, "CODING_ASSISTANT_PROVIDER=claude-code", `CODING_ASSISTANT_AUTHENTICATION={"apiKey":"` + modelKey + `"}`,
		"SCRIPT_PROVIDER=true", "GIT_ALLOW_HTTP=true", "GIT_ALLOWED_HOSTS=" + fleet.gateway,
		"ANTHROPIC_BASE_URL=" + fleet.modelURL, "OPENAI_BASE_URL=" + fleet.modelURL + "/v1",
		"LEASE_TTL=" + leaseTTL.String(), "SAVE_TIMEOUT=15s", "GIT_AUTHOR_NAME=Jane \"J\" O'Neil $HOME",
	}
	return os.WriteFile(fleet.env, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// removeFleet leaves the machine without a trace of the fleet but its images.
func removeFleet() {
	const ours = "label=com.docker.stack.namespace=" + stack
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		_ = exec.Command("docker", "stack", "rm", stack).Run() // more than once: its networks go after its tasks
		left, _ := exec.Command("docker", "ps", "-q", "--filter", ours).Output()
		for _, id := range strings.Fields(string(left)) { // a job that nobody waits for any more
			_ = exec.Command("docker", "kill", id).Run()
		}
		networks, _ := exec.Command("docker", "network", "ls", "-q", "--filter", ours).Output()
		if len(left)+len(networks) == 0 {
			break
		}
	}
	_ = exec.Command("sh", "-c", `docker secret ls -q --filter name=aicw_ | xargs -r docker secret rm
		docker container prune -f --filter `+ours+`
		../../scripts/prune.sh; docker volume rm `+stack+`_minio`).Run()
}

// get asks the front, with the key.
func get(t *testing.T, path string) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	res, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header
}
