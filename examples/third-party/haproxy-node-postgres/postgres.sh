#!/bin/sh
# PostgreSQL on $PORT, with a new cluster in $DATA. As root it runs as `postgres`, which it insists on.
set -eu
for folder in /usr/lib/postgresql/*/bin; do
    [ -x "$folder/postgres" ] && PATH="$folder:$PATH"
done
as=''
if [ "$(id -u)" -eq 0 ]; then
    chown postgres "$DATA"
    # The folders above $DATA may be closed to everybody but root: passing through them is kept.
    as='setpriv --reuid=postgres --regid=postgres --clear-groups'
    as="$as --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
fi
cluster=$DATA/cluster
$as initdb --pgdata "$cluster" --username postgres --auth trust --encoding UTF8 --no-locale --no-sync \
    >"$DATA/initdb.log" 2>&1 || { cat "$DATA/initdb.log" >&2; exit 1; }
$as postgres --single -j -D "$cluster" -c fsync=off postgres <schema.sql >"$DATA/schema.log"

$as postgres -D "$cluster" -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c shared_buffers=32MB -c max_connections=20 -c max_parallel_workers_per_gather=0 \
    -c jit=off -c autovacuum=off &
server=$!
# Asked to end, PostgreSQL would wait for its clients to go; an interrupt makes it end at once.
trap 'kill -INT $server 2>/dev/null' TERM INT HUP
status=0
wait $server || status=$?
# A trapped signal ends the first wait before the server has ended.
while kill -0 $server 2>/dev/null; do wait $server || status=$?; done
exit $status
