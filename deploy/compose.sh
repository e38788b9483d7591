#!/bin/sh
# docker-compose.yml with what .env says: deploy/compose.sh up|down|COMMAND...; `make up` and `make down` run it.
#
#   deploy/compose.sh up 3          build the images, start three workers, wait until one is ready
#   deploy/compose.sh down          stop everything: a busy worker ends its job first; the sessions stay
#   deploy/compose.sh logs -f       any other command of Compose
set -eu
cd "$(dirname "$0")/.."
. deploy/fleet.sh

if docker compose version >/dev/null 2>&1; then
	compose="docker compose"
elif command -v docker-compose >/dev/null; then
	compose=docker-compose
else
	die "Docker Compose is missing (on Debian: apt-get install docker-compose)"
fi

none=$(mktemp)
trap 'rm -f "$none"' EXIT

# composed COMMAND...: Compose reads no .env by itself, since each version does it in its own way.
composed() { $compose --env-file "$none" "$@"; }

read_variables .env
make_up_secrets
publish docker-compose.yml
case ${1:-} in
up)
	rebuild=1
	images
	composed up -d --no-build --scale "worker=${2:-2}"
	wait_for_front "$compose logs worker"
	tell_request
	;;
down)
	say "waiting for the workers: a busy one ends its job first"
	composed stop worker # before MinIO and the front, which those jobs need
	composed "$@"
	;;
*) composed "$@" ;;
esac
