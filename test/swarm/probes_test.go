//go:build swarm

package swarm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// probes are what a hostile agent tries in a deployed task. Each prints OPEN where it gets through.
var probes = []struct{ row, what, script string }{
	{"A1", "the environment of the worker's processes", `for p in $others; do cat /proc/$p/environ && echo OPEN; done`},
	{"A2", "their memory", `for p in $others; do dd if=/proc/$p/mem bs=1 count=1 && echo OPEN; done`},
	{"A2", "their open files", `for p in $others; do ls /proc/$p/fd/ && echo OPEN; done`},
	{"A2", "their root", `for p in $others; do ls /proc/$p/root/ && echo OPEN; done`},
	{"A2", "tracing them", `for p in $others; do perl -e 'print "OPEN\n" if syscall(101, 16, shift, 0, 0) == 0' $p; done`},
	{"A2", "process_vm_readv", `for p in $others; do perl -e 'my ($p, $b) = (shift, "x" x 8); my $i = pack("QQ", unpack("Q", pack("p", $b)), 8); my $r = pack("QQ", 0x400000, 8);
		print "OPEN\n" if syscall(310, $p, $i, 1, $r, 1, 0) > 0' $p; done`},
	{"A4", "the secrets' files", `cat /run/secrets/* && echo OPEN`},
	{"A5", "the worker's own files", `ls /run/worker && echo OPEN`},
	{"A13", "killing the worker", `for p in $others; do kill -KILL $p && echo OPEN; kill -STOP $p && echo OPEN; done`},
	{"A13", "the worker's API", `perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:5000", Timeout => 3) or exit;
		print $s "GET /status HTTP/1.0\r\n\r\n"; my $l = <$s> // ""; print "OPEN $l\n" if $l =~ / (200|429|503) /'`},
	{"A14", "rights of a setuid program", `grep -q 'NoNewPrivs:.*1' /proc/self/status || echo OPEN`},
	{"A14", "becoming root", `su -c id && echo OPEN; perl -e 'print "OPEN\n" if syscall(105, 0) == 0'`},
	{"A14", "setuid files in the image", `find / -xdev -perm /6000 -type f 2>/dev/null | grep . && echo OPEN`},
	{"A15", "the image's files", `for f in /usr/bin/git /usr/local/bin/worker /opt/assistants/bin/claude /etc/ld.so.preload /etc/passwd /etc/gitconfig; do (echo x >>$f) && echo OPEN; done`},
	{"A16", "files that were left open", `for f in /proc/self/fd/*; do case $(readlink $f) in pipe:*|/dev/null|/proc/*|'') ;; *) readlink $f; echo OPEN;; esac; done`},
	{"A16", "core dumps", `[ "$(ulimit -c)" = 0 ] || echo OPEN; sh -c 'kill -SEGV $$'; ls core* && echo OPEN`},
	{"A11", "raw and packet sockets", `perl -MSocket -e 'socket($s, PF_INET, SOCK_RAW, 1) and print "OPEN\n"; socket($s, 17, SOCK_RAW, 768) and print "OPEN\n"'`},
	{"A18", "secrets in the agent's own environment", `env | grep -i -E 'canary|minio|api_key|github' && echo OPEN`},
}

// sandboxed are what only the sandbox keeps the agent from: with SANDBOX=off it gets through. refused dials and says OPEN unless the
// kernel itself forbids it.
var sandboxed = []struct{ row, what, script string }{
	{"A10", "MinIO", `refused minio 9000`},
	{"A10", "the front", `refused front 5001`},
	{"A10", "other workers", `refused tasks.unified-worker 5000`},
	{"A10", "the metadata address of a cloud", `refused 169.254.169.254 80`},
	{"A10", "port 80 of this machine", `refused GATEWAY 80`},
	{"A10", "Docker's API on this machine", `refused GATEWAY 2375`},
}

// open are what must work in spite of the sandbox.
var open = []struct{ row, what, script string }{
	{"A10", "the git host on another port", `refused GITHOST`},
	{"A10", "a server of the agent's own", `perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die;
		IO::Socket::INET->new(PeerAddr => "127.0.0.1:" . $l->sockport) and print "OPEN\n"'`},
}

// dialler is what the scripts of sandboxed and open call.
const dialler = `refused() { perl -MSocket -MErrno=EACCES -e 'my ($h, $p) = @ARGV; my $a = inet_aton($h) or do { print "NO NAME $h\n"; exit };
	socket(my $s, PF_INET, SOCK_STREAM, 0) or exit; $SIG{ALRM} = sub { print "OPEN\n"; exit }; alarm 3;
	print "OPEN\n" if connect($s, sockaddr_in($p, $a)) or $! != EACCES' "$@"; }
`

// tried runs probes in one job and returns what each printed.
func tried(t *testing.T, repo string, all []struct{ row, what, script string }) (answers []string, j *job) {
	t.Helper()
	repository(t, repo)
	script := dialler + `others=$(for p in /proc/[0-9]*; do [ "$(stat -c %u $p 2>/dev/null)" = 0 ] && basename $p; done)
		set -- $others; [ $# -gt 1 ] || echo "FEW others"` + "\n"
	for i, p := range all {
		script += fmt.Sprintf("echo 'PROBE %d;'; (\n%s\n) 2>/dev/null\n", i, p.script)
	}
	script += "echo PROBE end\nprintf '#!/bin/sh\\necho stolen >/workspace/stolen\\n' > git; chmod +x git; mkdir -p bin; cp git bin/git\n"
	host, port, _ := strings.Cut(strings.TrimPrefix(fleet.git.URL(), "http://"), ":")
	script = strings.NewReplacer("GATEWAY", fleet.gateway, "GITHOST", host+" "+port).Replace(script)
	j = start(t, "", script, "--repo", fleet.git.CloneURL(repo))
	last := j.completed()
	said := j.said()
	for i := range all {
		_, rest, found := strings.Cut(said, fmt.Sprintf("PROBE %d;", i))
		answer, _, ended := strings.Cut(rest, "PROBE ")
		if !found || !ended {
			t.Fatalf("probe %d was not tried:\n%s", i, j)
		}
		answers = append(answers, answer)
	}
	if strings.Contains(said, "FEW others") || committed(t, repo, last, "git") == "" {
		t.Errorf("the probes did not see the worker, or the work was not pushed:\n%s", j)
	}
	return answers, j
}

// TestProbes: an agent in a deployed task gets at nothing of the worker's and of the fleet's. One job tries everything; at its end
// the worker must be there to push.
func TestProbes(t *testing.T) {
	scaled(t, 2)
	all := slices.Concat(probes, sandboxed, open)
	answers, j := tried(t, "probes/site", all)
	for i, p := range all {
		if through := strings.Contains(answers[i], "OPEN"); through != (i >= len(probes)+len(sandboxed)) || strings.Contains(answers[i], "NO NAME") {
			t.Errorf("%s, %s: got through: %t\n%s", p.row, p.what, through, answers[i])
		}
	}
	for _, secret := range canaries {
		if strings.Contains(j.said(), secret) {
			t.Errorf("the agent saw %s", secret)
		}
	}
}

// TestProbesWithoutSandbox: the probes of the sandbox do get through without one, and those of the two users still do not.
func TestProbesWithoutSandbox(t *testing.T) {
	scaled(t, 1)
	docker(t, "service", "update", "--detach", "--env-add", "SANDBOX=off", workers)
	eventually(t, "the update is over", 2*time.Minute, func() bool { return updateState(t, workers) == "completed" })
	defer func() {
		docker(t, "service", "update", "--detach", "--env-add", "SANDBOX=", workers)
		eventually(t, "the update is over", 2*time.Minute, func() bool { return updateState(t, workers) == "completed" })
	}()
	all := slices.Concat(probes, sandboxed)
	answers, _ := tried(t, "probes/off", all)
	for i, p := range all {
		if through := strings.Contains(answers[i], "OPEN"); through != (i >= len(probes)) {
			t.Errorf("%s, %s: got through: %t\n%s", p.row, p.what, through, answers[i])
		}
	}
}
