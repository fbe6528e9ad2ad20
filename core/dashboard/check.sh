#!/usr/bin/env bash
# Builds the dashboard from its sources, in a directory of its own, and compares
# that with what is committed and embedded.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v npm >/dev/null; then
	echo "npm is missing: building the dashboard takes Node 20.19 or later" >&2
	exit 1
fi
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT

cd web
npm ci --ignore-scripts
npm test
npm run build -- --outDir "$built" --logLevel warn
if ! diff -r ../dist "$built"; then
	echo "core/dashboard/dist is not what its sources give: run make dashboard and commit it" >&2
	exit 1
fi
