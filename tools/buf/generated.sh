#!/usr/bin/env bash
# Fails where the committed generated code is not what the .proto files give:
# a file that differs, is missing, or has no .proto behind it any more.
set -euo pipefail
cd "$(dirname "$0")/../.."

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
go tool -modfile=tools/buf/go.mod buf generate --output "$fresh"

list() { (cd "$1" && find sdk/proto -name '*.pb.go' | sort); }

status=0
if ! diff -u --label committed --label generated <(list .) <(list "$fresh"); then
	echo "the set of generated files differs" >&2
	status=1
fi
while read -r file; do
	if [ -f "$file" ] && ! diff -u --label "$file" --label "$file (generated)" "$file" "$fresh/$file"; then
		status=1
	fi
done < <(list "$fresh")

if [ "$status" -ne 0 ]; then
	echo "generated code is out of date: run 'make generate' and commit the result" >&2
fi
exit "$status"
