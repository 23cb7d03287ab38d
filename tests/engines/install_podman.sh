#!/usr/bin/env bash
# For continuous integration on a bare Debian machine, as root: installs Podman where it is missing. Elsewhere, and where a
# step is not possible, it says so and leaves things as they are.
#   bash tests/engines/install_podman.sh
set -uo pipefail

if ! podman info > /dev/null 2>&1; then
    if [[ $(id -u) != 0 ]] || ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends podman catatonit netavark aardvark-dns; } > /dev/null 2>&1; then
        echo "no Podman here: it could not be installed; the tests that need it are skipped" >&2
        exit 0
    fi
fi
# Podman wants higher limits for its containers than a machine without CAP_SYS_RESOURCE may give.
if [[ $(id -u) == 0 && ! -e /etc/containers/containers.conf ]] && ! (ulimit -Hn 1048576) 2> /dev/null; then
    processes=$(< /proc/sys/kernel/pid_max)
    printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=%s:%s"]\n' \
        "$(ulimit -Hn)" "$(ulimit -Hn)" "$processes" "$processes" > /etc/containers/containers.conf
fi
podman --version >&2
