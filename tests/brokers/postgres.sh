#!/usr/bin/env bash
# A real PostgreSQL for the tests, of Debian's package but none of the system's service:
# own data and port, on 127.0.0.1 only. As it refuses to run as root, root starts it as
# the user postgres, whom the package brings.
# See README.md beside this file for the commands and the variables.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=postgres
asked_port=${POSTGRES_PORT:-}
default_port=25432
dir="$target/brokers/postgres-$instance"
find_port
data="$dir/data"
log="$dir/postgres.log"
user=bridge password=bridge database=bridge

# Debian keeps each version in a folder of its own and puts none of them on PATH.
bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
[[ -x $bin/postgres ]] || bin=$(dirname "$(command -v postgres || echo "$bin/postgres")")

broker_pid() { pid_of "$dir/postgres.pid"; }

# What runs commands as the server's user.
as_server=()
owner=$(id -un)
if [[ $(id -u) -eq 0 ]]; then
    owner=postgres
    as_server=(setpriv --reuid "$owner" --regid "$owner" --init-groups)
fi

# The cluster has one user, with a password, and answers nobody else.
init() {
    [[ -s $data/PG_VERSION ]] && return
    rm -rf "$data"
    mkdir -p "$data"
    printf '%s' "$password" >"$dir/password"
    chown "$owner" "$data" "$dir/password"
    chmod 700 "$data"
    (
        cd "$data" # the user must be able to stand where it starts
        "${as_server[@]}" "$bin/initdb" --pgdata . --username "$user" --pwfile /dev/stdin --auth scram-sha-256 \
            --encoding UTF8 --locale C.UTF-8 <"$dir/password" >>"$log" 2>&1
    ) || fail "initdb failed"
}

sql() { # DATABASE ARGS...
    local db=$1
    shift
    PGPASSWORD=$password "$bin/psql" --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 \
        --host 127.0.0.1 --port "$port" --username "$user" --dbname "$db" "$@" 9>&-
}

ready() { port_open "$port" && sql postgres --command 'SELECT 1' >/dev/null 2>&1; }

start() {
    lock_instance
    if ! broker_pid >/dev/null; then
        claim_ports 1
        echo "--- start $(date -u +%FT%TZ), port $port" >>"$log"
        init
        rm -f "$data/postmaster.pid" # of a server that was killed: its number may be another's by now
        (
            cd "$data"
            launch "$dir/postgres.pid" "$log" "${as_server[@]}" "$bin/postgres" -D . -p "$port" \
                -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200
        )
    fi
    wait_ready
    sql postgres --command "SELECT 1 FROM pg_database WHERE datname = '$database'" | grep -q 1 ||
        sql postgres --command "CREATE DATABASE $database"
}

stop() { # SIGNAL
    lock_instance
    end_process "$1" broker_pid
}

case "${1:-}" in
start) start ;;
stop) stop INT ;; # ends connections, then itself: TERM would wait for the clients
wait) wait_ready ;;
restart)
    stop INT
    start
    ;;
kill) stop KILL ;;
status) print_status ;;
env) echo "POSTGRES_URL=postgres://$user:$password@127.0.0.1:$port/$database" ;;
log) cat "$log" ;;
psql)
    shift
    broker_pid >/dev/null || fail "the server is not running"
    sql "$database" "$@"
    ;;
*)
    echo "usage: $0 {start|stop|wait|restart|status|env|log|psql ARGS...|kill}" >&2
    exit 2
    ;;
esac
