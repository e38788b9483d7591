# What deploy-swarm.sh and redeploy.sh share. Read by `. deploy/fleet.sh` from the top level.
# shellcheck shell=sh disable=SC2034

stack=unified-worker-stack

say() { echo "$(basename "$0"): $*"; }
die() { echo "$(basename "$0"): $*" >&2; exit 1; }

variables=

# read_variables FILE: its NAME=value lines, as Docker reads them: everything behind the = is the value.
read_variables() {
	[ -f "$1" ] || { say "no $1: everything as it is by default"; return 0; }
	variables=$(grep -v -e '^#' -e '^[[:space:]]*$' "$1" || true)
	bad=$(printf '%s\n' "$variables" | grep -v -E '^([A-Za-z_][A-Za-z0-9_]*=.*)?$' | cut -d = -f 1 | head -n 1 || true)
	[ -z "$bad" ] || die "$1: not NAME=value: $bad"
}

names() { printf '%s\n' "$variables" | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=..*/\1/p' | sort -u; }

# value NAME: the last value that the file gives it, or nothing.
value() { printf '%s\n' "$variables" | sed -n "s/^$1=//p" | tail -n 1 | tr -d '\n'; }

lower() { printf %s "$1" | tr '[:upper:]' '[:lower:]'; }

# quoted: standard input as a YAML string in a stack file, in which $ means a variable.
quoted() { sed -e "s/'/''/g" -e 's/\$/$$/g' -e "s/^/'/" -e "s/\$/'/"; }

# image VARIABLE DEFAULT DOCKERFILE CONTEXT: the image is here. One with a digest is pulled, one that is missing is built.
image() {
	name=$(value "$1")
	name=${name:-$2}
	export "$1=$name"
	case $name in
	*@sha256:*) run docker pull -q "$name" ;;
	*)
		if docker image inspect "$name" >/dev/null 2>&1; then
			say "$name is here"
		else
			say "building $name (some minutes)"
			run docker build -q --build-arg VERSION="$(built_from)" -t "$name" -f "$3" "$4"
		fi
		;;
	esac
}

built_from() { git describe --always --dirty 2>/dev/null || echo devel; }

# wait_for_services: until each service has as many tasks as it should, for three minutes.
wait_for_services() {
	say "waiting for the services"
	tries=0
	until docker stack services --format '{{.Replicas}}' "$stack" | awk -F '[/ ]' '$1 != $2 { waiting = 1 } END { exit waiting || NR == 0 }'; do
		tries=$((tries + 1))
		if [ "$tries" -ge 180 ]; then
			docker stack ps --no-trunc --filter desired-state=running "$stack" >&2
			die "the services did not come up in three minutes"
		fi
		sleep 1
	done
}

# wait_for_front: until a worker answers through the front, for a minute.
wait_for_front() {
	tries=0
	until [ "$(curl -s -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:5001/ready || true)" = 200 ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 60 ] || die "no worker is ready behind http://localhost:5001: docker service logs ${stack}_unified-worker"
		sleep 1
	done
}

# drop_old_secrets: those of earlier values. One that a task still uses stays, until the next time.
drop_old_secrets() {
	for old in $(docker secret ls --filter name=aicw_ --format '{{.Name}}'); do
		docker secret rm "$old" >/dev/null 2>&1 || true
	done
}
