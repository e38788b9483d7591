#!/bin/sh
# Deploys the fleet of swarm.yml on this Swarm, and again after every change of .env: what has not changed stays.
#
#   ./deploy-swarm.sh             deploy, and wait until the fleet answers
#   ./deploy-swarm.sh --dry-run   say what would be done, change nothing
#   ./deploy-swarm.sh --env FILE  another file than .env
#
# .env holds NAME=value lines, as for `make dev`. Every variable of the worker reaches the workers; secrets travel as Docker
# secrets. What must exist and is not set (the API key, MinIO's keys) is made up and written to .env.
# For this script: REPLICAS, WORKER_IMAGE, FRONT_IMAGE, MINIO_IMAGE (an image with a digest is pulled, others are built).
set -eu
cd "$(dirname "$0")"
. deploy/fleet.sh

env_file=.env
dry_run=
while [ $# -gt 0 ]; do
	case $1 in
	--dry-run) dry_run=1 ;;
	--env)
		[ $# -gt 1 ] || die "--env wants a file"
		env_file=$2
		shift
		;;
	*) die "unknown argument $1" ;;
	esac
	shift
done

# run COMMAND...: does it, or says it.
run() {
	if [ -n "$dry_run" ]; then
		say "would run: $*"
	else
		"$@"
	fi
}

# Names in .env that are of the machine where a worker runs by hand.
local_names=" HOST PORT WORKSPACE_DIR TMP_DIR STATE_DIR STORAGE_DIR STOP_GRACE MIN_UPTIME "
# Names that travel as Docker secrets when they are set.
secret_names=" MINIO_ACCESS_KEY MINIO_SECRET_KEY CODING_ASSISTANT_AUTHENTICATION GITHUB_ACCESS_TOKEN API_KEYS "
# Names that are this script's, MinIO's or made anew by it.
other_names=" REPLICAS WORKER_IMAGE FRONT_IMAGE MINIO_IMAGE MINIO_ROOT_USER MINIO_ROOT_PASSWORD "

check_machine() {
	version=$(docker version --format '{{.Server.Version}}' 2>/dev/null) || die "no Docker engine answers: is it running, and may you use it?"
	[ "$(printf '%s\n20.10\n' "$version" | sort -V | head -n 1)" = 20.10 ] || die "Docker Engine $version is too old: 20.10 or newer"
	state=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
	case $state in
	"active true") ;;
	"active false") die "this node is no manager of its Swarm: run this on one" ;;
	*) die "this node is in no Swarm: docker swarm init" ;;
	esac
}

# keep NAME VALUE: gives a variable that .env does not set a value, there and here.
keep() {
	[ -z "$(value "$1")" ] || return 0
	if [ -n "$dry_run" ]; then
		say "would make up $1 and write it to $env_file"
	else
		say "made up $1: it is in $env_file"
		(umask 077 && printf '%s=%s\n' "$1" "$2" >>"$env_file")
	fi
	variables="$variables
$1=$2"
}

random() { head -c 512 /dev/urandom | LC_ALL=C tr -dc A-Za-z0-9 | head -c "$1"; }

make_up_secrets() {
	keep MINIO_ROOT_USER "root-$(random 8)"
	keep MINIO_ROOT_PASSWORD "$(random 32)"
	keep MINIO_ACCESS_KEY "worker-$(random 8)"
	keep MINIO_SECRET_KEY "$(random 32)"
	keep API_KEYS "aicw_$(random 32)"
}

# secret NAME AS: a Docker secret of NAME's value, called AS and a part of its hash: another value is another secret.
secret() {
	digest=$(value "$1" | sha256sum | cut -c 1-12)
	name=aicw_$2_$digest
	if ! docker secret inspect "$name" >/dev/null 2>&1; then
		if [ -n "$dry_run" ]; then
			say "would create the secret $name" >&2
		else
			value "$1" | docker secret create "$name" - >/dev/null
			say "created the secret $name" >&2
		fi
	fi
	echo "$name"
}

create_secrets() {
	MINIO_ROOT_USER_SECRET=$(secret MINIO_ROOT_USER minio_root_user)
	MINIO_ROOT_PASSWORD_SECRET=$(secret MINIO_ROOT_PASSWORD minio_root_password)
	MINIO_ACCESS_KEY_SECRET=$(secret MINIO_ACCESS_KEY minio_access_key)
	MINIO_SECRET_KEY_SECRET=$(secret MINIO_SECRET_KEY minio_secret_key)
	# Two references to one secret share one file and its mode, so MinIO has secrets of its own.
	MINIO_WORKER_ACCESS_KEY_SECRET=$(secret MINIO_ACCESS_KEY minio_worker_access_key)
	MINIO_WORKER_SECRET_KEY_SECRET=$(secret MINIO_SECRET_KEY minio_worker_secret_key)
	API_KEYS_SECRET=$(secret API_KEYS api_keys)
	export MINIO_ROOT_USER_SECRET MINIO_ROOT_PASSWORD_SECRET MINIO_ACCESS_KEY_SECRET MINIO_SECRET_KEY_SECRET \
		MINIO_WORKER_ACCESS_KEY_SECRET MINIO_WORKER_SECRET_KEY_SECRET API_KEYS_SECRET
}

# overlay: what .env says, as a second stack file.
overlay() {
	echo 'version: "3.9"'
	echo 'services:'
	echo '  unified-worker:'
	echo '    environment:'
	echo '      AICW_DEPLOYED_BY: deploy-swarm.sh'
	for name in $(names); do
		case "$local_names$other_names$secret_names" in
		*" $name "*) ;;
		*) printf '      %s: %s\n' "$name" "$(value "$name" | quoted)" ;;
		esac
	done
	optional=
	for name in CODING_ASSISTANT_AUTHENTICATION GITHUB_ACCESS_TOKEN; do
		[ -n "$(value "$name")" ] || continue
		optional="$optional $name"
		printf '      %s_FILE: /run/secrets/%s\n' "$name" "$(lower "$name")"
	done
	if [ -n "$optional" ]; then
		echo '    secrets:'
		for name in $optional; do
			printf '      - { source: %s, uid: "0", gid: "0", mode: 0400 }\n' "$(lower "$name")"
		done
	fi
	replicas=$(value REPLICAS)
	if [ -n "$replicas" ]; then
		printf '    deploy:\n      replicas: %s\n' "$replicas"
	fi
	if [ -n "$optional" ]; then
		echo 'secrets:'
		for name in $optional; do
			printf '  %s: { external: true, name: %s }\n' "$(lower "$name")" "$(secret "$name" "$(lower "$name")")"
		done
	fi
}

say_ignored() {
	for name in $(names); do
		case $local_names in
		*" $name "*) say "$name in $env_file is for a worker run by hand; the fleet has its own" ;;
		esac
	done
}

deploy() {
	file=$(mktemp)
	trap 'rm -f "$file"' EXIT
	overlay >"$file"
	if [ -n "$dry_run" ]; then
		docker stack config -c swarm.yml -c "$file" >/dev/null
		say "would deploy swarm.yml with this in addition:"
		cat "$file"
		return
	fi
	docker stack deploy --prune --resolve-image changed -c swarm.yml -c "$file" "$stack"
}

tell() {
	key=$(value API_KEYS | cut -d , -f 1)
	cat <<-TEXT

		The fleet is up: http://localhost:5001

		  docker stack services $stack                       what runs
		  docker service ps ${stack}_unified-worker            each worker
		  docker service logs -f ${stack}_unified-worker       what they say
		  docker service scale ${stack}_unified-worker=20      more or fewer

		A first job (the key is API_KEYS in $env_file):

		  curl -N -X POST http://localhost:5001/execute \\
		    -H "Authorization: Bearer \$(sed -n 's/^API_KEYS=\\([^,]*\\).*/\\1/p' $env_file)" \\
		    -H "Content-Type: application/json" \\
		    -d '{"userRequest": "Create a hello world function", "codingAssistantProvider": "ClaudeAgentSDK",
		         "codingAssistantAuthentication": "sk-ant-..."}'
	TEXT
	[ -n "$key" ]
}

check_machine
read_variables "$env_file"
say_ignored
make_up_secrets
create_secrets
image WORKER_IMAGE ai-coding-worker:latest Dockerfile .
image FRONT_IMAGE ai-coding-worker-front:latest deploy/front/Dockerfile deploy
image MINIO_IMAGE ai-coding-worker-minio:latest deploy/minio/Dockerfile deploy
deploy
[ -z "$dry_run" ] || exit 0
wait_for_services
wait_for_front
drop_old_secrets
tell
