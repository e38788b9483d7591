# What the scripts of the fleet share. Read by `. deploy/fleet.sh` from the top level.
# They may set env_file, dry_run (say, do not do), rebuild (build images that are here, too) and front (where it listens).
# shellcheck shell=sh disable=SC2034

stack=unified-worker-stack
front=http://localhost:5001

say() { echo "$(basename "$0"): $*"; }
die() { echo "$(basename "$0"): $*" >&2; exit 1; }

env_file=.env
dry_run=
rebuild=
variables=

# run COMMAND...: does it, or says it.
run() {
	if [ -n "$dry_run" ]; then
		say "would run: $*"
	else
		"$@"
	fi
}

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

# keep NAME VALUE: gives a variable that .env does not set a value, there and here.
keep() {
	[ -z "$(value "$1")" ] || return 0
	if [ -n "$dry_run" ]; then
		say "would make up $1 and write it to $env_file"
	else
		say "made up $1: it is in $env_file"
		touch "$env_file"
		chmod go= "$env_file"
		[ -z "$(tail -c 1 "$env_file")" ] || echo >>"$env_file" # its last line may have no end
		printf '%s=%s\n' "$1" "$2" >>"$env_file"
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

# Names that only a worker run by hand takes from .env; the fleet has its own values.
local_names=" HOST PORT WORKSPACE_DIR TMP_DIR STATE_DIR STORAGE_DIR AGENT_UID MIN_UPTIME "
# Names that reach the fleet in another way than by its file.
other_names=" REGISTRY MINIO_ROOT_USER MINIO_ROOT_PASSWORD MINIO_ACCESS_KEY MINIO_SECRET_KEY CODING_ASSISTANT_AUTHENTICATION GITHUB_ACCESS_TOKEN API_KEYS "

# publish FILE: exports the variables that a stack or compose file asks for, with what .env says or empty: never with what
# the shell of whoever runs this happens to have. Names that lead nowhere are said.
publish() {
	wanted=" $(sed -n 's/.*\${\([A-Z_]*\).*/\1/p' "$1" | tr '\n' ' ')"
	for name in $wanted; do
		export "$name=$(value "$name")"
	done
	for name in $(names); do
		case "$local_names" in
		*" $name "*) say "$name in $env_file is for a worker run by hand; the fleet has its own" ;;
		*)
			case "$wanted$other_names" in
			*" $name "*) ;;
			*) say "$name in $env_file is no variable of the fleet" ;;
			esac
			;;
		esac
	done
}

# image VARIABLE DEFAULT DOCKERFILE CONTEXT: the image is here. One with a digest is pulled, one that is missing is built.
image() {
	name=$(value "$1")
	name=${name:-$2}
	export "$1=$name"
	case $name in
	*@sha256:*) run docker pull -q "$name" ;;
	*)
		if [ -z "$rebuild" ] && docker image inspect "$name" >/dev/null 2>&1; then
			say "$name is here"
		else
			say "building $name (some minutes, the first time)"
			run docker build -q --build-arg VERSION="$(built_from)" -t "$name" -f "$3" "$4"
		fi
		;;
	esac
}

images() {
	image WORKER_IMAGE ai-coding-worker:latest Dockerfile .
	image FRONT_IMAGE ai-coding-worker-front:latest deploy/front/Dockerfile deploy
	image MINIO_IMAGE ai-coding-worker-minio:latest deploy/minio/Dockerfile deploy
}

built_from() { git describe --always --dirty 2>/dev/null || echo devel; }

# updated SERVICE SINCE: waits until the update that was asked for at that time is over; status 1 if Swarm did not take it. One
# that has not begun after five seconds has nothing to replace. It stands still while each of two slots waits for a new task.
updated() {
	last=
	while [ "$(date +%s)" -lt $(($2 + 1800)) ]; do
		status=$(docker service inspect --format '{{with .UpdateStatus}}{{.State}} {{.Message}}{{end}}' "${stack}_$1")
		[ "$status" = "$last" ] || say "$1: $status"
		last=$status
		case $status in
		completed*) return 0 ;;
		rollback_completed* | rollback_paused* | paused*) return 1 ;;
		'') [ "$(date +%s)" -lt $(($2 + 5)) ] || return 0 ;;
		esac
		sleep 1
	done
	die "the update takes longer than half an hour: docker service ps ${stack}_$1"
}

# wait_for_services [new]: until each service has as many tasks as it should, for three minutes. There may be more: workers that
# were told to go and end their jobs first. Where all tasks are new, some that fail again and again end the waiting. The last
# words of those that failed are shown.
wait_for_services() {
	say "waiting for the services"
	deadline=$(($(date +%s) + 180))
	until docker stack services --format '{{.Replicas}}' "$stack" | awk -F '[/ ]' '$1 < $2 { waiting = 1 } END { exit waiting || NR == 0 }'; do
		if [ "${1:-}" = new ] && [ "$(failures)" -ge 5 ]; then
			last_words
			die "the services start and end again"
		fi
		if [ "$(date +%s)" -ge "$deadline" ]; then
			docker stack ps --no-trunc --filter desired-state=running "$stack" >&2
			last_words
			die "the services did not come up in three minutes"
		fi
		sleep 1
	done
}

# failures: how many tasks failed within the last seconds.
failures() {
	docker stack ps --filter desired-state=shutdown --format '{{.CurrentState}}' "$stack" | grep -c -E '^(Failed|Rejected).*second' || true
}

last_words() {
	for service in $(docker stack ps --filter desired-state=shutdown --format '{{.Name}} {{.CurrentState}}' "$stack" |
		grep -E ' (Failed|Rejected).*second' | sed 's/\.[0-9]* .*//' | sort -u); do
		docker service ps --no-trunc --format '{{.Error}}' "$service" | sort -u >&2
		timeout 20 docker service logs --raw --tail 3 "$service" 2>&1 | tail -n 5 >&2 || true
	done
}

# wait_for_front LOGS: until a worker answers through the front, for a minute; LOGS is the command that shows why none does.
wait_for_front() {
	tries=0
	until [ "$(curl -s -m 5 -o /dev/null -w '%{http_code}' "$front/ready" || true)" = 200 ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 60 ] || die "no worker is ready behind $front: $1"
		sleep 1
	done
}

# drop_old_secrets: those of earlier values, but what each service had before its latest change: it may be rolled back. Docker
# itself refuses to remove what a service has now.
drop_old_secrets() {
	before=" $(docker service inspect "${stack}_unified-worker" "${stack}_minio" --format \
		'{{with .PreviousSpec}}{{range .TaskTemplate.ContainerSpec.Secrets}}{{.SecretName}} {{end}}{{end}}' | tr '\n' ' ')"
	for old in $(docker secret ls --filter name=aicw_ --format '{{.Name}}'); do
		case $before in
		*" $old "*) ;;
		*) docker secret rm "$old" >/dev/null 2>&1 || true ;;
		esac
	done
}

# tell_request: a first job. The key stays in its file.
tell_request() {
	cat <<-TEXT

		A first job (the key is API_KEYS in $env_file):

		  curl -N -X POST $front/execute \\
		    -H "Authorization: Bearer \$(sed -n 's/^API_KEYS=\\([^,]*\\).*/\\1/p' $env_file)" \\
		    -H "Content-Type: application/json" \\
		    -d '{"userRequest": "Create a hello world function", "codingAssistantProvider": "ClaudeAgentSDK",
		         "codingAssistantAuthentication": "sk-ant-..."}'

		aicw does the same with AICW_SERVER=$front and that key as AICW_API_KEY.
	TEXT
}
