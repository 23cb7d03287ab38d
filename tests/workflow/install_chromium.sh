#!/usr/bin/env bash
# For continuous integration on a bare Debian machine, as root: installs Chromium and its driver where they are missing.
# Elsewhere, and where that is not possible, it says so and leaves things as they are.
#   bash tests/workflow/install_chromium.sh
set -uo pipefail

give_up() {
    echo "no Chromium here: $1; the tests that need it are skipped" >&2
    exit 0
}

if ! command -v chromium > /dev/null || ! command -v chromedriver > /dev/null; then
    [ "$(id -u)" = 0 ] || give_up "this user has no right to install it"
    command -v apt-get > /dev/null || give_up "there is no apt-get"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends chromium chromium-driver; } > /dev/null 2>&1 \
        || give_up "it could not be installed"
fi
chromedriver --version >&2
