#!/bin/sh
# The base of the images built here, where no registry is at hand: Debian bookworm's minimal system, by debootstrap.
#   sh containers/base/make_base.sh [TAG] [MIRROR]      (as root; MIRROR may be a dated one of snapshot.debian.org)
set -eu
tag=${1:-tempzero-base:bookworm}
mirror=${2:-http://deb.debian.org/debian}
if docker image inspect "$tag" >/dev/null 2>&1; then
    echo "$tag is there"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=ca-certificates bookworm "$folder" "$mirror"
rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
tar --directory "$folder" --create . | docker import --change 'CMD ["/bin/sh"]' - "$tag"
