#!/usr/bin/env bash
# For continuous integration on a bare Debian machine, as root: installs Docker where it is missing, starts it, and makes
# the base image of containers/. Elsewhere, and where a step is not possible, it says so and leaves things as they are.
#   bash tests/engines/start_docker.sh
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

give_up() {
    echo "no Docker here: $1; the tests that need it are skipped" >&2
    exit 0
}

if ! docker info > /dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || give_up "this user has no right to it"
    if ! command -v dockerd > /dev/null || ! command -v debootstrap > /dev/null; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends docker.io debootstrap iptables; } > /dev/null 2>&1 \
            || give_up "it could not be installed"
    fi
    log=$(mktemp)
    setsid nohup dockerd --storage-driver overlay2 > "$log" 2>&1 < /dev/null &
    for _ in $(seq 60); do
        docker info > /dev/null 2>&1 && break
        sleep 1
    done
    docker info > /dev/null 2>&1 || { tail -5 "$log" >&2; give_up "dockerd did not start"; }
fi
if ! docker image inspect tempzero-base:bookworm > /dev/null 2>&1; then
    command -v debootstrap > /dev/null || give_up "debootstrap, which makes the base image, is missing"
    nice sh containers/base/make_base.sh tempzero-base:bookworm > /dev/null 2>&1 || give_up "the base image could not be made"
fi
docker version --format 'Docker {{.Server.Version}} runs' >&2
