//go:build swarm

package swarm_test

import (
	"strings"
	"testing"
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
	{"A14", "becoming root", `su -c id && echo OPEN; perl -e 'print "OPEN\n" if syscall(105, 0) == 0'`},
	{"A14", "setuid files in the image", `find / -xdev -perm /6000 -type f 2>/dev/null | grep . && echo OPEN`},
	{"A15", "the image's files", `for f in /usr/bin/git /usr/local/bin/worker /opt/assistants/bin/claude /etc/ld.so.preload /etc/passwd /etc/gitconfig; do (echo x >>$f) && echo OPEN; done`},
	{"A16", "files that were left open", `for f in /proc/self/fd/*; do case $(readlink $f) in pipe:*|/dev/null|/proc/*|'') ;; *) readlink $f; echo OPEN;; esac; done`},
	{"A16", "core dumps", `[ "$(ulimit -c)" = 0 ] || echo OPEN; sh -c 'kill -SEGV $$'; ls core* && echo OPEN`},
	{"A18", "secrets in the agent's own environment", `env | grep -i -E 'canary|minio|api_key|github' && echo OPEN`},
}

// TestProbes: an agent in a deployed task gets at nothing of the worker's. One job tries everything; at its end the worker must be
// there to push.
func TestProbes(t *testing.T) {
	scaled(t, 1)
	repository(t, "probes/site")
	script := `others=$(for p in /proc/[0-9]*; do [ "$(stat -c %u $p 2>/dev/null)" = 0 ] && basename $p; done)
		set -- $others; [ $# -gt 1 ] || echo "FEW others"` + "\n"
	for i, p := range probes {
		script += "echo PROBE " + string(rune('a'+i)) + "; (\n" + p.script + "\n) 2>/dev/null\n"
	}
	script += "echo PROBE end\nprintf '#!/bin/sh\\necho stolen >/workspace/stolen\\n' > git; chmod +x git; mkdir -p bin; cp git bin/git\n"
	j := start(t, "", script, "--repo", fleet.git.CloneURL("probes/site"))
	last := j.completed()
	said := j.said()
	for i, p := range probes {
		_, rest, found := strings.Cut(said, "PROBE "+string(rune('a'+i)))
		answer, _, ended := strings.Cut(rest, "PROBE ")
		if !found || !ended || strings.Contains(answer, "OPEN") {
			t.Errorf("%s, %s: the agent got through:\n%s", p.row, p.what, answer)
		}
	}
	for _, secret := range canaries {
		if strings.Contains(said, secret) {
			t.Errorf("the agent saw %s", secret)
		}
	}
	if strings.Contains(said, "FEW others") || committed(t, "probes/site", last, "git") == "" {
		t.Errorf("the probes did not see the worker, or the work was not pushed:\n%s", j)
	}
}
