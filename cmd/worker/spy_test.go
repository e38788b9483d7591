package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// targets is what a spy is told of the worker that it attacks: everything that an agent could find out by itself.
type targets struct {
	URL, Metrics       string
	Dirs               []string // of the worker's own
	Worker, Supervisor int      // pids
	Canary             string   // of which the worker's secrets are made
	Everything         bool     // also what ends the job, should it succeed
	Only               string   // the one attempt to make; empty: all
}

// attempt is one thing that an agent should not be able to do; nil means that it could.
type attempt struct {
	name string
	ends bool // the job, should it succeed
	try  func(targets) error
}

// outcome is a line that a spy prints.
type outcome struct {
	Attempt string
	Refused string // why; empty: it could
}

// spy is the hostile agent: it tries everything against the worker, the reading of processes also against a child of its
// own, and prints what became of it. It is this test's binary, started by the script of a job.
func spy(args []string) error {
	var at targets
	if err := json.Unmarshal([]byte(args[0]), &at); err != nil {
		return err
	}
	supervisor, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	at.Supervisor = supervisor
	victim := exec.Command("sleep", "60")
	victim.Env = []string{"SECRET=" + at.Canary}
	if err := victim.Start(); err != nil {
		return err
	}
	defer func() { _ = victim.Process.Kill() }()
	for _, a := range attempts(at, victim.Process.Pid) {
		if at.Only != "" && a.name != at.Only || at.Only == "" && a.ends && !at.Everything {
			continue
		}
		o := outcome{Attempt: a.name}
		if err := a.try(at); err != nil {
			o.Refused = err.Error()
		}
		if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
			return err
		}
	}
	return nil
}

func attempts(at targets, victim int) []attempt {
	return slices.Concat(
		onProcess("victim", victim), onProcess("worker", at.Worker), onProcess("supervisor", at.Supervisor),
		[]attempt{
			{name: "canary in its own child", try: func(at targets) error { return search(at.Canary, 0) }},
			{name: "canary in any other process", try: func(at targets) error { return search(at.Canary, victim) }},
		},
		onFiles(at), onAPI(at), killings("supervisor", at.Supervisor), killings("worker", at.Worker),
	)
}

// onProcess is every way into another process.
func onProcess(name string, pid int) (all []attempt) {
	for _, file := range []string{"environ", "mem", "maps", "fd", "cwd/.", "root/.", "exe", "auxv"} {
		all = append(all, attempt{name: name + " " + file, try: func(targets) error { return canRead(fmt.Sprintf("/proc/%d/%s", pid, file)) }})
	}
	return append(all,
		attempt{name: name + " process_vm_readv", try: func(targets) error { return vmRead(pid) }},
		attempt{name: name + " ptrace", try: func(targets) error { return trace(pid) }},
	)
}

func killings(name string, pid int) (all []attempt) {
	for _, s := range []syscall.Signal{0, syscall.SIGSTOP, syscall.SIGCONT, syscall.SIGTERM, syscall.SIGKILL} {
		ends := s == syscall.SIGTERM || s == syscall.SIGKILL
		all = append(all, attempt{name: fmt.Sprintf("%s signal %d", name, s), ends: ends, try: func(targets) error { return syscall.Kill(pid, s) }})
	}
	return all
}

func canRead(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		if _, err = f.Readdirnames(1); errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	if filepath.Base(path) == "mem" {
		return nil // its first page is nobody's
	}
	_, err = f.Read(make([]byte, 1))
	return err
}

// vmRead reads a byte of another process at an address that is mapped in it: where the stack of every process is, this
// binary's own beginning is, or the first mapping that it shows.
func vmRead(pid int) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	start, parseErr := strconv.ParseUint(strings.Split(string(maps), "-")[0], 16, 64)
	if err != nil || parseErr != nil {
		start = 0x400000
	}
	var b [1]byte
	local := []unix.Iovec{{Base: &b[0], Len: 1}}
	_, readErr := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(start), Len: 1}}, 0)
	return readErr
}

func trace(pid int) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(pid), 0, 0, 0, 0)
	return nil
}

// search looks for a text in the environment and the arguments of every process but one.
func search(text string, but int) error {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range append(files, replaced(files, "environ", "cmdline")...) {
		if but != 0 && strings.HasPrefix(file, fmt.Sprintf("/proc/%d/", but)) || strings.HasPrefix(file, fmt.Sprintf("/proc/%d/", os.Getpid())) {
			continue
		}
		if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte(text)) {
			return nil
		}
	}
	return errors.New("not found")
}

func replaced(paths []string, old, with string) (all []string) {
	for _, p := range paths {
		all = append(all, strings.TrimSuffix(p, old)+with)
	}
	return all
}

func onFiles(at targets) (all []attempt) {
	for i, dir := range at.Dirs {
		all = append(all,
			attempt{name: fmt.Sprintf("list folder %d", i), try: func(targets) error { return canRead(dir) }},
			attempt{name: fmt.Sprintf("write into folder %d", i), try: func(targets) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) }},
		)
	}
	return all
}

// onAPI is every way to the worker's ports.
func onAPI(at targets) []attempt {
	port := at.URL[strings.LastIndex(at.URL, ":")+1:]
	own := ownAddress()
	asking := func(name, from, method, url string) attempt {
		return attempt{name: "API " + name, try: func(targets) error { return ask(from, method, url) }}
	}
	return []attempt{
		asking("by loopback", "", http.MethodGet, "http://127.0.0.1:"+port+"/status"),
		asking("by another loopback address", "", http.MethodGet, "http://127.0.0.9:"+port+"/status"),
		asking("from another loopback address", "127.0.0.2", http.MethodGet, "http://127.0.0.1:"+port+"/status"),
		asking("by the machine's address", "", http.MethodGet, "http://"+own+":"+port+"/status"),
		asking("from the machine's address", own, http.MethodGet, "http://127.0.0.1:"+port+"/status"),
		asking("health", "", http.MethodGet, at.URL+"/health"),
		asking("sessions", "", http.MethodGet, at.URL+"/sessions"),
		asking("delete a session", "", http.MethodDelete, at.URL+"/sessions/other"),
		asking("metrics", "", http.MethodGet, at.Metrics),
		{name: "port of the worker", try: func(targets) error { return occupy("127.0.0.1:" + port) }},
		{name: "port of nobody", try: func(targets) error { return occupy("127.0.0.1:0") }},
		{name: "API in a user namespace", try: func(targets) error { return namespaced(at.URL + "/status") }},
		{name: "API leave before the answer", ends: true, try: func(targets) error { return leave(port, -1) }},
		{name: "API reset before the answer", ends: true, try: func(targets) error { return leave(port, 0) }},
		{name: "API abort", ends: true, try: func(targets) error { return ask("", http.MethodPost, at.URL+"/abort") }},
		{name: "API shutdown", ends: true, try: func(targets) error { return ask("", http.MethodPost, at.URL+"/shutdown") }},
	}
}

// ask sends a request from an address; an answer of the API, whatever it says, is a success.
func ask(from, method, url string) error {
	dialer := net.Dialer{}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	req, err := http.NewRequest(method, url, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", "203.0.113.7")
	req.Header.Set("X-Real-Ip", "203.0.113.7")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode == http.StatusForbidden {
		return fmt.Errorf("403 %s", text)
	}
	return nil
}

// occupy listens at an address, beside whoever does already if that may be.
func occupy(addr string) error {
	share := func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
	}
	ln, err := (&net.ListenConfig{Control: share}).Listen(context.Background(), "tcp4", addr)
	if err != nil {
		return err
	}
	return ln.Close()
}

// leave asks for the job's end and is gone before anybody can look who it was. What comes of it is seen by the job's end.
func leave(port string, linger int) error {
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	_, _ = io.WriteString(c, "POST /abort HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	if err := errors.Join(c.(*net.TCPConn).SetLinger(linger), c.Close()); err != nil {
		return err
	}
	return errors.New("seen by the job's end")
}

// namespaced asks as root of a user namespace, where that may be had.
func namespaced(url string) error {
	cmd := exec.Command("/proc/self/exe", url)
	cmd.Env = append(os.Environ(), "AICW_TEST_MAIN=ask")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// ownAddress is one of this machine's that is not of loopback; where it has none, one of loopback's.
func ownAddress() string {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	return "127.0.0.3"
}
