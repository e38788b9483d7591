#!/bin/sh
# Builds the code as it is here under a tag of its own and rolls it out over the running fleet, two workers at a time. Jobs that
# run are not touched: their workers go when they are done. Ends with status 1 if Swarm rolled the update back.
#
#   ./redeploy.sh                     build the workers' image and roll it out
#   ./redeploy.sh --service front     the front's image, or that of minio
#   ./redeploy.sh --image NAME        roll out an image that is there already; nothing is built
#   ./redeploy.sh --env FILE          another file than .env
#
# With REGISTRY in .env (registry.example.com/team) the image is pushed there, as a Swarm of several nodes needs it. What
# runs then stands in .env, so that ./deploy-swarm.sh does not go back.
set -eu
cd "$(dirname "$0")"
. deploy/fleet.sh

service=unified-worker
given=
while [ $# -gt 0 ]; do
	[ $# -gt 1 ] || die "unknown argument $1, or no value for it"
	case $1 in
	--env) env_file=$2 ;;
	--image) given=$2 ;;
	--service) service=$2 ;;
	*) die "unknown argument $1" ;;
	esac
	shift 2
done

# describe the service: the variable that names its image, the image, its Dockerfile and context.
case $service in
unified-worker) variable=WORKER_IMAGE repository=ai-coding-worker dockerfile=Dockerfile context=. ;;
front) variable=FRONT_IMAGE repository=ai-coding-worker-front dockerfile=deploy/front/Dockerfile context=deploy ;;
minio) variable=MINIO_IMAGE repository=ai-coding-worker-minio dockerfile=deploy/minio/Dockerfile context=deploy ;;
*) die "no service $service: unified-worker, front or minio" ;;
esac

# remember NAME VALUE: .env says what runs.
remember() {
	touch "$env_file"
	others=$(grep -v "^$1=" "$env_file" || true)
	(umask 077 && printf '%s\n%s=%s\n' "$others" "$1" "$2" >"$env_file.new")
	mv "$env_file.new" "$env_file"
}

read_variables "$env_file"
docker service inspect "${stack}_$service" >/dev/null 2>&1 || die "no service ${stack}_$service runs here: ./deploy-swarm.sh first"

name=$given
if [ -z "$name" ]; then
	registry=$(value REGISTRY)
	name=${registry:+$registry/}$repository:$(built_from)-$(date -u +%Y%m%d%H%M%S)
	say "building $name"
	docker build -q --build-arg VERSION="$(built_from)" -t "$name" -f "$dockerfile" "$context" >/dev/null
	if [ -n "$registry" ]; then
		say "pushing $name"
		docker push -q "$name"
	fi
fi

begun=$(date +%s)
docker service update --detach --quiet --with-registry-auth --image "$name" "${stack}_$service" >/dev/null
if ! updated "$service" "$begun"; then
	last_words
	die "$name was not taken: the fleet runs what it ran before"
fi
remember "$variable" "$name"
say "the fleet runs $name; ./redeploy.sh --image NAME goes back to another"
