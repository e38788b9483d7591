#!/bin/sh
# Deploys the fleet of swarm.yml on this Swarm, and again after every change of .env: what has not changed stays.
#
#   ./deploy-swarm.sh             deploy, and wait until the fleet answers
#   ./deploy-swarm.sh --dry-run   say what would be done, change nothing
#   ./deploy-swarm.sh --env FILE  another file than .env
#   ./deploy-swarm.sh --ingress   Swarm's routing mesh instead of the front: deploy/ingress.yml
#
# .env holds NAME=value lines, as for `make dev`. Every variable of the worker reaches the workers; secrets travel as Docker
# secrets. What must exist and is not set (the API key, MinIO's keys) is made up and written to .env.
# For this script: REPLICAS; WORKER_IMAGE, FRONT_IMAGE, MINIO_IMAGE (an image with a digest is pulled, others are built).
set -eu
cd "$(dirname "$0")"
. deploy/fleet.sh

age=""
mesh=""
while [ $# -gt 0 ]; do
	case $1 in
	--dry-run) dry_run=1 ;;
	--ingress) mesh=deploy/ingress.yml ;;
	--env)
		[ $# -gt 1 ] || die "--env wants a file"
		env_file=$2
		shift
		;;
	*) die "unknown argument $1" ;;
	esac
	shift
done

check_machine() {
	version=$(docker version --format '{{.Server.Version}}' 2>/dev/null) || die "no Docker engine answers: is it running, and may you use it?"
	[ "$(printf '%s\n20.10\n' "$version" | sort -V | head -n 1)" = 20.10 ] || die "Docker Engine $version is too old: 20.10 or newer"
	state=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
	case $state in
	"active true") ;;
	"active false") die "this node is no manager of its Swarm: run this on one" ;;
	*) die "this node is in no Swarm: docker swarm init" ;;
	esac
	kept=$(docker info --format '{{.Swarm.Cluster.Spec.Orchestration.TaskHistoryRetentionLimit}}')
	[ "$kept" -le 1 ] || say "this Swarm keeps $kept ended tasks of each worker: docker swarm update --task-history-limit 1"
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

# overlay: a second stack file, with the secrets that a fleet can do without.
overlay() {
	optional=
	for name in CODING_ASSISTANT_AUTHENTICATION GITHUB_ACCESS_TOKEN; do
		[ -z "$(value "$name")" ] || optional="$optional $name"
	done
	echo 'version: "3.9"'
	[ -n "$optional" ] || return 0
	echo 'services:'
	echo '  unified-worker:'
	echo '    environment:'
	for name in $optional; do
		printf '      %s_FILE: /run/secrets/%s\n' "$name" "$(lower "$name")"
	done
	echo '    secrets:'
	for name in $optional; do
		printf '      - { source: %s, uid: "0", gid: "0", mode: 0400 }\n' "$(lower "$name")"
	done
	echo 'secrets:'
	for name in $optional; do
		printf '  %s: { external: true, name: %s }\n' "$(lower "$name")" "$(secret "$name" "$(lower "$name")")"
	done
}

deploy() {
	file=$(mktemp)
	trap 'rm -f "$file"' EXIT
	overlay >"$file"
	set -- -c swarm.yml -c "$file"
	if [ -n "$mesh" ]; then
		set -- "$@" -c "$mesh"
		export FRONT_PORT=15001
	fi
	if [ -n "$dry_run" ]; then
		if docker stack config --help 2>/dev/null | grep -q 'stack config'; then
			say "would deploy:"
			docker stack config "$@"
		else
			say "would deploy swarm.yml $mesh with this in addition:"
			cat "$file"
		fi
		return
	fi
	docker stack services -q "$stack" 2>/dev/null | grep -q . || age=new
	docker stack deploy --prune --resolve-image changed --with-registry-auth "$@" "$stack"
}

# take_over: waits until what was changed runs. Where Swarm went back to what ran before, that is what the secrets are still for.
take_over() {
	[ "$age" != new ] || return 0
	say "waiting for what has changed"
	for service in minio front unified-worker; do
		updated "$service" "$begun" || {
			last_words
			die "the change of $service was not taken: docker service ps ${stack}_$service"
		}
	done
}

# find_front: the address of the node on which the front runs; the routing mesh is on every node.
find_front() {
	task=$(docker service ps -q --filter desired-state=running "${stack}_front" | head -n 1)
	[ -n "$task" ] || return 0
	node=$(docker inspect --format '{{.NodeID}}' "$task")
	[ "$node" = "$(docker info --format '{{.Swarm.NodeID}}')" ] || front=http://$(docker node inspect --format '{{.Status.Addr}}' "$node"):5001
}

tell() {
	cat <<-TEXT

		The fleet is up: $front

		  docker stack services $stack                       what runs
		  docker service ps ${stack}_unified-worker            each worker
		  docker service logs -f ${stack}_unified-worker       what they say
		  docker service scale ${stack}_unified-worker=20      more or fewer
	TEXT
	tell_request
}

check_machine
read_variables "$env_file"
make_up_secrets
publish swarm.yml
create_secrets
images
begun=$(date +%s)
deploy
[ -z "$dry_run" ] || exit 0
take_over
wait_for_services "$age"
find_front
wait_for_front "docker service logs ${stack}_unified-worker"
drop_old_secrets
tell
