#!/usr/bin/env bash
# A service under load is compacted twice by the host; what its users see of it is
# a line each second. It works in a directory of its own, and leaves nothing.
# Needs bin/owner-app and bin/wring: make demo.
set -euo pipefail
bin=$(cd "$(dirname "$0")/bin" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/owner-app.XXXXXX")
cd "$dir"

app='' host='' load=''
cleanup() {
	trap '' INT TERM
	for pid in $load $host $app; do kill "$pid" 2>/dev/null || true; done
	wait
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s\n' "$*"; }

# show runs one of the two programs. Its progress would get among the load's lines.
show() {
	printf '\n$ %s\n' "$*"
	"$bin/$@" 2>said.log || { cat said.log >&2; return 1; }
}

# until_true tries a command for ten seconds; $1 is the log to show if it is in vain.
until_true() {
	local log=$1
	shift
	for _ in $(seq 100); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.1
	done
	cat "$log" >&2
	return 1
}

export WRING_CONFIG=$dir/wring.hcl
cat >wring.hcl <<END
data_dir = "$dir/state"

store "kv" {
  owner = "$dir/run/wring.sock"
  limit = "40MiB/s" # or there would be too little time to watch
}
END

say "Making a store of about 200 MB, half of it garbage"
show owner-app fill -db kv.db

say "Starting the service, the host and the load: 4 clients that read, 4 that write"
"$bin/owner-app" serve -db kv.db -socket run/wring.sock 2>app.log &
app=$!
until_true app.log test -S http.sock
"$bin/wring" run 2>host.log &
host=$!
until_true host.log "$bin/wring" inspect kv
"$bin/owner-app" load -duration 10m &
load=$!

sleep 5.5
show wring compact kv
sleep 4
show wring compact --force kv
sleep 4

say "The load ends, and looks for all that was acknowledged:"
kill $load
status=0
wait $load || status=$?
load=''

say "What the host remembers of the two, the last one first:"
"$bin/wring" history --json kv | awk '
	/"outcome"|"duration_ms"/ { line = line $1 " " $2 " " }
	/"pause_ms"/              { print "  " line $1 " " $2; line = "" }'
exit $status
