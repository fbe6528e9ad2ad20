#!/usr/bin/env bash
# The main job on real databases: generates two fragmented stores under ./demo,
# starts the host on them, makes one run and shows what came of it.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=demo
wring=bin/wring
log=$dir/host.log

bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
show() { printf '\n$ %s\n' "$*"; "$@"; }

if $wring status --config $dir/wring.hcl >/dev/null 2>&1; then
	echo "A host is still running on ./demo: end it with Ctrl-C where it runs, then try again." >&2
	exit 1
fi

bold "Making a bbolt file and a Pebble store of about 100 MB each, half of it garbage"
go run -trimpath ./internal/demo -dir $dir # as make build compiles, or all is compiled twice

bold "Starting the host (its log is in $log)"
$wring run --config $dir/wring.hcl 2>$log &
host=$!
trap 'kill $host 2>/dev/null; wait $host 2>/dev/null || true' EXIT
for _ in $(seq 100); do
	$wring status --config $dir/wring.hcl >/dev/null 2>&1 && break
	kill -0 $host 2>/dev/null || { cat $log >&2; exit 1; }
	sleep 0.1
done

show $wring inspect --config $dir/wring.hcl sessions
show $wring plan --config $dir/wring.hcl
show $wring compact --all --config $dir/wring.hcl
show $wring plan --config $dir/wring.hcl
show $wring history --config $dir/wring.hcl

bold "The host of the demonstration ends now. To look further:"
cat <<END
  bin/wring run --config $dir/wring.hcl                start it again; then, elsewhere:
  bin/wring status --config $dir/wring.hcl             what it looks after
  bin/wring events --config $dir/wring.hcl             what happens, as it happens
  bin/wring history --json --config $dir/wring.hcl     what happened, for programs
  bin/wring inspect $dir/sessions.db                   a path needs no host
  bin/wring compact --force $dir/sessions.db           and no configuration
  bin/wring --help                                     everything else
END
