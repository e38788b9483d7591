package gitops_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// fixed are the dates of all that scripts commit, so that the same script makes the same commits everywhere.
const fixed = `export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
	export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example.invalid GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example.invalid
	`

// in is the bench with another checkout, beside the first.
func (b *bench) in(name string) *bench {
	other := *b
	other.dir = filepath.Join(filepath.Dir(b.dir), name)
	return &other
}

// plain makes a clone with git alone, as people have it on their own machine.
func (b *bench) plain(name string) *bench {
	b.Helper()
	other := b.in(name)
	b.in("").sh("git clone -q " + b.withToken() + " " + name + " 2>&1")
	return other
}

// seed puts what a script makes onto the host's main.
func (b *bench) seed(script string) {
	b.Helper()
	b.plain("seed").sh(fixed + script + "\n git add -A; git commit -qm seed --allow-empty; git push -q origin HEAD:main")
}

// trusted is the tree that git add -A makes of a change on a machine that nobody has to be kept from.
func (b *bench) trusted(name, change string) string {
	b.Helper()
	return b.plain(name).sh(fixed + change + "\n git add -A 2>/dev/null; git write-tree")
}

// pushedTree is what the host gets when the same change is an agent's.
func (b *bench) pushedTree(name, change string) string {
	b.Helper()
	agents := b.in(name)
	repo := agents.clone()
	branch := "aicw/" + name
	agents.startBranch(repo, branch)
	agents.sh(fixed + change)
	agents.push(repo, agents.commit(repo, "x").Hash, branch)
	return b.onHost("rev-parse", branch+"^{tree}")
}

// same compares the two, and names the entries that differ.
func (b *bench) same(name, change, without string) {
	b.Helper()
	want := b.trusted(name+"-trusted", change+"\n"+without)
	got := b.pushedTree(name, change)
	if got == want {
		return
	}
	trees := fmt.Sprintf("git ls-tree -r %s > ../got; cd ../%s-trusted; git ls-tree -r %s > ../want; diff ../want ../got || true", got, name, want)
	b.Errorf("the host has tree %s, git add -A makes %s (< git's, > ours):\n%.4000s", got, want, b.in(name).sh(trees))
}

func TestCommitIsWhatAddAllMakesElsewhere(t *testing.T) {
	tests := map[string]struct {
		seed    string // makes what is on the host before; empty: the repository is
		change  string
		without string // takes away what git add -A would stop at
	}{
		"empty repository": {change: `echo 1 > a; mkdir -p b/c; echo 2 > b/c/d`},
		"nothing changed":  {seed: `echo 1 > a`, change: `touch a`},
		"names": {seed: `echo 1 > 'before
after'`, change: `rm *after; for f in aux.c con NUL com1.txt 'tab	x' 'new
line' '"q"' 'back\slash' ' blank ' ünïcode -dash .hidden '*' '[a]' ':(top)x' '~' 'a:b' "$(printf 'not\377utf8')" "$(printf '%0200d' 1)"; do
			printf %s "$f" > "./$f"; mkdir "./d$f"; printf 1 > "./d$f/$f"; done`},
		"links": {seed: `echo 1 > file; echo 1 > was; ln -s file link; mkdir dir; echo 1 > dir/f`, change: `
			ln -s /etc/passwd absolute; ln -s / root; ln -s missing dangling; ln -s dir todir; ln -s loop loop; ln -s "$(printf '%0900d' 1)" long
			rm was; ln -s file was; rm link; echo now a file > link; rm -r dir; ln -s /tmp dir`},
		"line ends": {seed: `printf '* text=auto\n*.bat eol=crlf\n*.sh eol=lf\n*.raw -text\n*.id ident\n*.u16 working-tree-encoding=UTF-16LE eol=lf\n' > .gitattributes
			printf 'a\r\nb\r\n' | tee t.txt t.bat t.sh t.raw > mixed; printf '$Id$\n' > x.id; printf 'a\0\n\0' > y.u16`, change: `
			for f in t.txt t.bat t.sh t.raw mixed new.txt new.bat new.sh new.raw; do printf '1\r\n2\n3\r\n' > $f; done
			printf '$Id: something $\n' > x.id; printf 'b\0\n\0' > y.u16; printf 'a\r\n\0' > binary; mkdir sub; printf '*.txt -text\n' > sub/.gitattributes; printf 'x\r\n' > sub/s.txt`},
		"executable bits": {seed: `echo 1 > on; echo 1 > off; chmod 755 off`, change: `chmod 755 on; chmod 644 off; echo 1 > new; chmod 700 new; echo 1 > group; chmod 654 group`},
		"kinds": {seed: `echo 1 > file; mkdir dir; echo 1 > dir/f; echo 1 > dir/g; mkdir -p x/y/z; echo 1 > x/y/z/f`, change: `
			rm file; mkdir file; echo 1 > file/f; rm -r dir; echo 1 > dir; rm -r x/y; echo 2 > x/y; mkdir empty`},
		"nested repositories": {seed: `echo 1 > a`, change: `
			git init -q born; echo 1 > born/f; git -C born add f; git -C born commit -qm x; echo 2 > born/untracked
			mkdir deep; git init -q deep/born; git -C deep/born commit -q --allow-empty -m x
			git init -q --template= --bare bare; echo 2 > a`},
		"nested repository without a commit": {seed: `echo 1 > a`, change: `git init -q unborn; echo 1 > unborn/f; echo 2 > a; echo 1 > z`, without: `rm -rf unborn`},
		"submodules": {seed: `git init -q one; git -C one commit -q --allow-empty -m x; cp -r one two; cp -r one three
			printf '[submodule "one"]\n\tpath = one\n\turl = https://example.invalid/one.git\n' > .gitmodules; echo 1 > a`, change: `
			echo 2 > a; rmdir two; git init -q three; git -C three commit -q --allow-empty -m other`},
		"large file pointers": {
			seed: `printf '*.bin filter=lfs diff=lfs merge=lfs -text\n' > .gitattributes
			printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12345\n' 7 | tee a.bin > b.bin`,
			change: `printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 6\n' 8 > b.bin; touch a.bin; printf new > c.bin`,
		},
		"no files": {seed: `echo 1 > a`, change: `mkfifo pipe; mkdir d; mkfifo d/pipe; echo 2 > d/f`},
		"ignored": {seed: `printf '*.log\n/build/\n!keep.log\ndir/*\n!dir/.gitignore\n' > .gitignore; echo 1 > tracked.log; git add -f tracked.log`, change: `
			echo 2 > tracked.log; echo 1 > x.log; echo 1 > keep.log; mkdir build dir; echo 1 > build/f; printf '!y\n' > dir/.gitignore; echo 1 > dir/x; echo 1 > dir/y
			mkdir -p .git/info; echo '*.own' > .git/info/exclude; echo 1 > a.own`},
		"an index that is not plain": {seed: `for i in 1 2 3 4 5 6; do echo $i > f$i; done; mkdir d; echo 1 > d/f`, change: `
			git rm -q --cached f1; echo 1 > n; git add -N n; git update-index --assume-unchanged f2; echo x > f2; git update-index --skip-worktree f3; rm f3
			echo staged > f4; git add f4; rm f4; echo staged > s; git add s; echo later > s; git update-index --chmod=+x f5; git update-index --index-version 4 --untracked-cache; echo 2 > d/f`},
		"sparse":       {seed: `mkdir in out; echo 1 > in/f; echo 1 > out/f`, change: `git sparse-checkout set in; echo 2 > in/f; echo 1 > in/new`},
		"split index":  {seed: `for i in 1 2 3 4 5 6; do echo $i > f$i; done`, change: `git update-index --split-index; rm f1; echo x > f2; echo x > new`},
		"own commits":  {seed: `echo 1 > a`, change: `echo 2 > a; git add a; git commit -qm own; git checkout -q -b mine; echo 3 > b; git add b; git commit -qm own; rm a`},
		"20,000 files": {seed: `echo 1 > a`, change: `for d in $(seq 100); do mkdir -p many/$d; for f in $(seq 200); do echo $d $f > many/$d/$f; done; done`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			if tt.seed != "" {
				b.seed(tt.seed)
			}
			b.same("change", tt.change, tt.without)
		})
	}
}

var changes = flag.Uint64("changes", 10, "how many random changes are compared with git's own commit of them")

// TestCommitOfAnythingIsWhatAddAllMakesElsewhere lets chance change a repository that has some of everything.
func TestCommitOfAnythingIsWhatAddAllMakesElsewhere(t *testing.T) {
	b := newBench(t, nil)
	b.seed(someChange(rand.New(rand.NewPCG(0, 0)), 60))
	for seed := range *changes {
		change := someChange(rand.New(rand.NewPCG(seed, 1)), 25)
		b.same(fmt.Sprint("seed-", seed), change, "")
		if b.Failed() {
			t.Fatalf("the change was\n%s", change)
		}
	}
}

// someChange is a script of so many steps. Files are closed to nobody, and none takes the place of what cannot be added.
func someChange(r *rand.Rand, steps int) string {
	names := []string{
		"a", "b", "c.txt", "dir", "dir/x", "dir/y.txt", "dir/aux.c", "new\nline", "tab\t/x", "ünï/cöde", "-dash", "sp ace", `q"uote`, `back\slash`,
		"con", ".hidden", "tool.sh", "deep/x", "deep", "*",
	}
	acts := []string{
		`printf '{n}\n' > {f}`, `printf 'a\r\n{n}\r\n' > {f}`, `printf '\0{n}' > {f}`, `: > {f}`, `printf '#!/bin/sh\n' > {f}; chmod 755 {f}`,
		`ln -s /nowhere/{n} {f}`, `ln -s missing {f}`, `ln -s a {f}`, `mkdir {f}`, `true`,
		`echo {n} > {f}; git add -f {f}`, `echo {n} > {f}; git add -f {f}; rm {f}`, `git init -q {f}; git -C {f} commit -q --allow-empty -m {n}`,
	}
	rare := []string{
		`printf '*.log\n{n}\n' > .gitignore; echo {n} > {n}.log`, `printf '*.txt text eol=crlf\n' > .gitattributes; find . -name '*.txt' -exec touch -h {} +`,
		`git commit -qm own --allow-empty`, `mkfifo pipe{n}`, `git rm -rfq --cached --ignore-unmatch .`,
	}
	var b strings.Builder
	b.WriteString(`clear() { [ -d "${1%/*}" ] && [ ! -L "${1%/*}" ] || rm -rf "${1%/*}"; rm -rf "$1"; mkdir -p "${1%/*}"; }` + "\n")
	for n := range steps {
		name := "'./" + names[r.IntN(len(names))] + "'"
		step := "clear {f}; " + acts[r.IntN(len(acts))]
		if r.IntN(10) == 0 {
			step = rare[r.IntN(len(rare))]
		}
		b.WriteString(strings.NewReplacer("{n}", strconv.Itoa(n), "{f}", name).Replace(step) + "\n")
	}
	return b.String()
}
