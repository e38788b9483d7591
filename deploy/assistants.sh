#!/bin/sh
# Puts the native binaries of coding assistants into a folder, for the image: assistants.sh FOLDER NAME...
# The versions are those that the tests run.
set -eu

claude_version=2.1.197
codex_version=0.169.0

folder=$1
shift
mkdir -p "$folder/bin"

# npm trusts the certificates that Node brings and those of one file, not the system's.
extra=/usr/local/share/ca-certificates
if [ -n "$(find "$extra" -name '*.crt' 2>/dev/null)" ]; then
	trusted=$(mktemp)
	find "$extra" -name '*.crt' -exec awk 1 {} + >"$trusted"
	[ -z "${NODE_EXTRA_CA_CERTS:-}" ] || awk 1 "$NODE_EXTRA_CA_CERTS" >>"$trusted"
	export NODE_EXTRA_CA_CERTS="$trusted"
fi

# native PACKAGE@VERSION FILE NAME: the one binary of the npm package for this platform. FILE is a pattern below node_modules.
native() {
	staging=$(mktemp -d)
	(cd "$staging" && npm install --prefix . --no-audit --no-fund --no-save --loglevel=error "$1")
	for file in "$staging"/node_modules/$2; do
		install -m 0755 "$(readlink -f "$file")" "$folder/bin/$3"
	done
	rm -rf "$staging"
	echo "assistants: $("$folder/bin/$3" --version)"
}

for name; do
	case $name in
	claude) native "@anthropic-ai/claude-code@$claude_version" @anthropic-ai/claude-code/bin/claude.exe claude ;;
	codex) native "@openai/codex@$codex_version" '@openai/codex-linux-*/vendor/*/bin/codex' codex ;;
	*)
		echo "assistants: no assistant $name" >&2
		exit 2
		;;
	esac
done
