#!/bin/sh
# Makes the base images that the Dockerfiles name, on a machine that cannot pull them: from Debian's packages and the
# toolchains that are installed here, under the public names, with this machine's own CA certificates in them.
# An image that is there already, pulled or made, stays. A machine with a registry does not need this.
#
#   scripts/bases.sh            make what is missing
#   scripts/bases.sh --print    print the names
set -eu

debian=debian:bookworm-slim
golang=golang:1.26-bookworm
node=node:20-bookworm-slim

say() { echo "bases: $*"; }
die() { echo "bases: $*" >&2; exit 1; }

if [ "${1:-}" = --print ]; then
	printf '%s\n' "$debian" "$golang" "$node"
	exit
fi
[ $# = 0 ] || die "unknown argument $1"
docker info >/dev/null 2>&1 || die "no Docker engine answers: start one (on Debian: apt-get install docker.io)"

there() { docker image inspect "$1" >/dev/null 2>&1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# build TAG: the Dockerfile on standard input, with $scratch as its context.
build() {
	cat >"$scratch/Dockerfile"
	DOCKER_BUILDKIT=0 docker build -q -t "$1" "$scratch" >/dev/null
	rm -rf "${scratch:?}"/*
	say "made $1"
}

make_debian() {
	command -v mmdebstrap >/dev/null || die "mmdebstrap is missing (on Debian: apt-get install mmdebstrap)"
	say "making $debian from Debian's packages (once, about a minute)"
	mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm "$scratch/base.tar"
	docker import -c 'CMD ["bash"]' "$scratch/base.tar" bookworm-without-ca >/dev/null
	rm "$scratch/base.tar"
	mkdir "$scratch/ca"
	if [ -d /usr/local/share/ca-certificates ]; then
		cp -R /usr/local/share/ca-certificates/. "$scratch/ca"
	fi
	build "$debian" <<-'DOCKERFILE'
		FROM bookworm-without-ca
		COPY ca /usr/local/share/ca-certificates
		RUN update-ca-certificates && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
		ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
	DOCKERFILE
	docker rmi bookworm-without-ca >/dev/null
}

make_golang() {
	command -v go >/dev/null || die "go is missing: install Go 1.26 or newer from https://go.dev/dl"
	cp -R "$(go env GOROOT)" "$scratch/go"
	build "$golang" <<-DOCKERFILE
		FROM $debian
		COPY go /usr/local/go
		ENV GOPATH=/go PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
		RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends git >/dev/null && rm -rf /var/lib/apt/lists/*
		WORKDIR /go
	DOCKERFILE
}

make_node() {
	command -v npm >/dev/null || die "npm is missing: install Node.js 20"
	modules=$(dirname "$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")")
	mkdir "$scratch/bin"
	cp -L "$(command -v node)" "$scratch/bin/node"
	cp -R "$modules/npm" "$scratch/npm"
	build "$node" <<-DOCKERFILE
		FROM $debian
		COPY bin/node /usr/local/bin/node
		COPY npm /usr/local/lib/node_modules/npm
		RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && npm --version
	DOCKERFILE
}

there "$debian" || make_debian
there "$golang" || make_golang
there "$node" || make_node
