#!/bin/sh
# Starts MinIO, and makes what the workers need: the bucket, and a user of their own that may touch nothing else. The root
# key stays here. Every start does it again, so a new worker key is in force after a restart; the one before stays until it is removed.
#
# MINIO_ROOT_USER, MINIO_ROOT_PASSWORD: the root key; MINIO_ACCESS_KEY, MINIO_SECRET_KEY: the workers'; each has a _FILE form.
set -eu

fail() { echo "minio: $*" >&2; exit 1; }

# secret NAME: its value, or what is in the file that NAME_FILE names.
secret() {
	eval "value=\${$1:-} file=\${$1_FILE:-}"
	# shellcheck disable=SC2154 # value and file are set by eval
	if [ -n "$file" ]; then
		value=$(cat "$file") || fail "$1_FILE: cannot read $file"
	fi
	[ -n "$value" ] || fail "set $1 or $1_FILE"
	printf %s "$value"
}

MINIO_ROOT_USER=$(secret MINIO_ROOT_USER)
MINIO_ROOT_PASSWORD=$(secret MINIO_ROOT_PASSWORD)
export MINIO_ROOT_USER MINIO_ROOT_PASSWORD
unset MINIO_ROOT_USER_FILE MINIO_ROOT_PASSWORD_FILE
worker_key=$(secret MINIO_ACCESS_KEY)
worker_secret=$(secret MINIO_SECRET_KEY)
unset MINIO_ACCESS_KEY MINIO_SECRET_KEY MINIO_ACCESS_KEY_FILE MINIO_SECRET_KEY_FILE
bucket=${MINIO_BUCKET:-sessions}
[ "$worker_key" != "$MINIO_ROOT_USER" ] || fail "MINIO_ACCESS_KEY is the root user's name: give the workers a name of their own"

minio server "${1:-/data}" &
server=$!
trap 'kill -TERM "$server"; wait "$server"' TERM INT

export MC_CONFIG_DIR=/tmp/mc
mc() { command mc --quiet --no-color "$@" >/dev/null; }

setup() {
	mc alias set local http://127.0.0.1:9000 "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" &&
		mc mb --ignore-existing "local/$bucket" &&
		sed "s/BUCKET/$bucket/" /opt/minio/policy.json >/tmp/policy.json &&
		mc admin policy create local worker /tmp/policy.json &&
		mc admin user add local "$worker_key" "$worker_secret" &&
		{ mc admin policy attach local worker --user "$worker_key" 2>/dev/null || attached; }
}

# attached: attaching a policy again is an error to mc.
attached() { command mc --json admin policy entities local --user "$worker_key" | grep -q '"worker"'; }

tries=0
until setup 2>/tmp/setup.log; do
	kill -0 "$server" 2>/dev/null || { wait "$server"; exit; }
	tries=$((tries + 1))
	if [ "$tries" -ge 60 ]; then
		cat /tmp/setup.log >&2
		kill -TERM "$server"
		wait "$server" || true
		fail "the bucket and the workers' key could not be made"
	fi
	sleep 1
done
rm -rf /tmp/mc /tmp/policy.json /tmp/setup.log
echo "minio: bucket $bucket and the workers' key are ready"
wait "$server"
