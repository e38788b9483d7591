#!/bin/sh
# Removes what ended tasks leave on this node: their volumes, which Swarm never removes. Those of running tasks stay.
# Run it on every node now and then, from cron for example.
set -eu
docker volume ls --quiet --filter dangling=true --filter name=aicw-workspace- --filter name=aicw-state- |
	xargs -r docker volume rm >/dev/null
