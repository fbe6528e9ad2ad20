#!/usr/bin/env bash
# Sees to it that there is a chromium for the tests. CI installs Debian's; on a
# person's machine that is left to the person.
set -euo pipefail

if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
	exit 0
fi
if [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "chromium is missing: apt-get install --no-install-recommends chromium" >&2
	exit 1
fi
apt-get update -qq
# Some font, or there is no text on the screenshots.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
