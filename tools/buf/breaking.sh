#!/usr/bin/env bash
# Fails where the protocol breaks what an earlier state of it promised. The
# working tree is compared with
#   - the commit at which this branch left main;
#   - the commit before, where that is HEAD itself, as it is on main;
#   - the last release.
# A state without .proto files promises nothing. Where no state can be had at
# all, the script says so, and fails if CI is true.
set -euo pipefail
cd "$(dirname "$0")/../.."

proto=sdk/proto

# cannot_compare says why there was no comparison, and ends the script.
cannot_compare() {
	echo "buf breaking: nothing was compared: $1" >&2
	if [ "${CI:-}" = true ]; then
		exit 1
	fi
	exit 0
}

git rev-parse --git-dir >/dev/null 2>&1 || cannot_compare "this is no git checkout"
head=$(git rev-parse --verify --quiet HEAD) || cannot_compare "there is no commit yet"

bases=()
add_base() {
	local known
	for known in ${bases[@]+"${bases[@]}"}; do
		if [ "$known" = "$1" ]; then return; fi
	done
	bases+=("$1")
}

for branch in refs/heads/main refs/remotes/origin/main; do
	if base=$(git merge-base "$branch" HEAD 2>/dev/null); then
		add_base "$base"
	fi
done
if [ "${#bases[@]}" -eq 0 ]; then
	add_base "$head"
fi
for base in "${bases[@]}"; do
	[ "$base" = "$head" ] || continue
	if before=$(git rev-parse --verify --quiet "HEAD^"); then
		add_base "$before"
	elif [ "$(git rev-parse --is-shallow-repository)" = true ]; then
		cannot_compare "the clone is too shallow to hold the commit before; try git fetch --unshallow"
	fi
done
if release=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
	add_base "$(git rev-parse "$release^{commit}")"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
compared=0
status=0
for base in "${bases[@]}"; do
	if [ -z "$(git ls-tree -r --name-only "$base" -- "$proto" | grep '\.proto$' || true)" ]; then
		echo "buf breaking: ${base:0:12} has no protocol yet"
		continue
	fi
	mkdir "$scratch/$base"
	git archive "$base" -- "$proto" | tar -x -C "$scratch/$base"
	cp buf.yaml "$scratch/$base/"
	echo "buf breaking: against $(git log -1 --format='%h %s' "$base")"
	go tool -modfile=tools/buf/go.mod buf breaking --against "$scratch/$base" || status=1
	compared=$((compared + 1))
done

if [ "$compared" -eq 0 ]; then
	echo "buf breaking: no earlier state has a protocol; there is nothing to compare with"
fi
if [ "$status" -ne 0 ]; then
	echo "the protocol only grows: add fields and calls, and leave the old ones as they are" >&2
fi
exit "$status"
