#!/bin/sh
# Installs the tools that the tests run, at pinned versions, into a cache outside the source tree:
#   $AICW_CACHE, else /var/cache/ai-coding-worker (root) or ~/.cache/ai-coding-worker.
# Run it as often as you like: what is there stays. internal/tooltest finds the tools by the same names.
#
#   scripts/tools.sh                  install what is missing
#   scripts/tools.sh --cache          print where they are, install nothing
#   scripts/tools.sh --folder NAME    print a tool's folder there
set -eu
umask 022 # every uid may run them: the agent's too

minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
claude_version=2.1.197
codex_version=0.169.0
golangci_version=v2.15.0

minio_folder=minio-20260212
claude_folder=claude-$claude_version
codex_folder=codex-$codex_version
golangci_folder=golangci-lint-${golangci_version#v}

say() { echo "tools: $*"; }
die() { echo "tools: $*" >&2; exit 1; }

default_cache() {
	if [ "$(id -u)" = 0 ]; then
		echo /var/cache/ai-coding-worker
	else
		echo "$HOME/.cache/ai-coding-worker"
	fi
}

# need COMMAND PACKAGE...: the command is there, or is installed where apt-get and root make that possible.
need() {
	command=$1
	shift
	command -v "$command" >/dev/null && return
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		die "$command is missing: install it (on Debian: apt-get install $*) and run scripts/tools.sh again"
	fi
	say "installing $* with apt-get, for $command"
	DEBIAN_FRONTEND=noninteractive apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# provide FOLDER TOOL COMMAND...: runs the command with $staging as the folder to fill, and moves it into place
# only when it has succeeded and the tool is there, so that an interrupted install is never taken for a good one.
provide() {
	folder=$1 tool=$2
	shift 2
	if [ -x "$cache/$folder/bin/$tool" ]; then
		say "$tool is in $cache/$folder"
		return
	fi
	say "installing $tool into $cache/$folder (once; several minutes where it is built from source)"
	staging=$cache/.staging-$folder
	rm -rf "$staging"
	mkdir -p "$staging/bin"
	"$@"
	[ -x "$staging/bin/$tool" ] || die "$tool did not appear in $staging/bin"
	rm -rf "${cache:?}/$folder"
	mv "$staging" "$cache/$folder"
}

go_install() { GOFLAGS="" GOBIN="$staging/bin" go install "$1"; }

# npm unpacks the native binary of this platform; node is not needed to run it.
claude_install() {
	(cd "$staging" && npm install --prefix . --no-audit --no-fund --no-save --loglevel=error \
		"@anthropic-ai/claude-code@$claude_version")
	ln -s ../node_modules/@anthropic-ai/claude-code/bin/claude.exe "$staging/bin/claude"
}

codex_install() {
	(cd "$staging" && npm install --prefix . --no-audit --no-fund --no-save --loglevel=error "@openai/codex@$codex_version")
	native=$(cd "$staging" && echo node_modules/@openai/codex-linux-*/vendor/*/bin/codex)
	[ -x "$staging/$native" ] || die "@openai/codex has no binary for this platform"
	ln -s "../$native" "$staging/bin/codex"
}

cache=${AICW_CACHE:-$(default_cache)}
case $cache in
/*) ;;
*) die "AICW_CACHE=$cache: write an absolute path" ;;
esac

case ${1:-} in
--cache)
	echo "$cache"
	exit
	;;
--folder)
	case ${2:-} in
	minio) echo "$minio_folder" ;;
	claude) echo "$claude_folder" ;;
	codex) echo "$codex_folder" ;;
	golangci-lint) echo "$golangci_folder" ;;
	*) die "no tool ${2:-}" ;;
	esac
	exit
	;;
'') ;;
*) die "unknown argument $1" ;;
esac

need git git ca-certificates
need setpriv util-linux
need shellcheck shellcheck
command -v go >/dev/null || die "go is missing: install Go 1.26 or newer from https://go.dev/dl"
if ! [ -x "$cache/$claude_folder/bin/claude" ] || ! [ -x "$cache/$codex_folder/bin/codex" ]; then
	need npm nodejs npm
fi

mkdir -p "$cache"
exec 9>"$cache/.lock" # two runs at once: the second waits, and finds everything there
flock 9

provide "$minio_folder" minio go_install "github.com/minio/minio@$minio_version"
provide "$claude_folder" claude claude_install
provide "$codex_folder" codex codex_install
provide "$golangci_folder" golangci-lint go_install \
	"github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$golangci_version"
