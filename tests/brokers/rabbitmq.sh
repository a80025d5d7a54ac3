#!/usr/bin/env bash
# A real RabbitMQ for the tests, of Debian's package but none of the system's service:
# own node name, ports, data, cookie and epmd, on 127.0.0.1 only, as whoever calls it.
# See README.md beside this file for the commands and the variables.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=rabbitmq
asked_port=${RABBITMQ_PORT:-}
default_port=29672
dir="$target/brokers/rabbitmq-$instance"
find_port
log="$dir/rabbitmq.log"
node="bridge-$instance@localhost"

# Debian's commands on PATH are wrappers that change to the user rabbitmq and its
# home; the scripts that they call do as the environment says.
bin=/usr/lib/rabbitmq/bin
[[ -x $bin/rabbitmq-server ]] || bin=$(dirname "$(command -v rabbitmq-server || echo "$bin/rabbitmq-server")")

broker_pid() { pid_of "$dir/rabbitmq.pid"; }
epmd_pid() { pid_of "$dir/epmd.pid"; }

use_private_node() {
    export HOME="$dir" # the Erlang cookie is made and looked for there
    export LC_ALL=C.UTF-8 # the command line tools grumble in any other
    export ERL_EPMD_PORT=$((port + 2)) ERL_EPMD_ADDRESS=127.0.0.1
    export ERL_CRASH_DUMP="$dir/erl_crash.dump"
    export RABBITMQ_NODENAME=$node
    export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$port
    export RABBITMQ_DIST_PORT=$((port + 1))
    export RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir" RABBITMQ_SCHEMA_DIR="$dir/schema"
    export RABBITMQ_LOGS=- # to standard output, so that all there is to read is in one file
    # Each of these has a default below /etc/rabbitmq, which is not ours to heed.
    export RABBITMQ_CONF_ENV_FILE="$dir/rabbitmq-env.conf"
    export RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf"
    export RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config"
    export RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins"
    # Erlang's own ports listen on every address unless told. A ctl that finds no epmd
    # would also leave one behind.
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
    export RABBITMQ_CTL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
    # Makes the server script become the server, so that the pid we keep is the
    # broker's own and a kill -9 of it is one of the broker.
    export RUNNING_UNDER_SYSTEMD=true
    unset NOTIFY_SOCKET
}

ctl() { (use_private_node && "$bin/rabbitmqctl" "$@" 9>&-); }

# The port is asked first as that is cheap: each rabbitmqctl costs a second or two.
ready() { port_open "$port" && ctl --silent await_startup --timeout "$start_limit" >/dev/null 2>&1; }

start() {
    lock_instance
    if ! broker_pid >/dev/null; then
        # An epmd that a crash has left behind may be bound to another port than the next.
        end_process TERM epmd_pid
        claim_ports 3
        echo "--- start $(date -u +%FT%TZ), port $port" >>"$log"
        : >"$dir/rabbitmq-env.conf"
        : >"$dir/rabbitmq.conf"
        echo '[].' | tee "$dir/advanced.config" >"$dir/enabled_plugins"
        # An epmd of our own, as the one that Erlang would start is beyond our reach.
        launch "$dir/epmd.pid" "$log" epmd -port "$((port + 2))" -address 127.0.0.1
        (
            use_private_node
            launch "$dir/rabbitmq.pid" "$log" "$bin/rabbitmq-server"
        )
    fi
    wait_ready
}

stop() { # SIGNAL
    lock_instance
    end_process "$1" broker_pid
    end_process TERM epmd_pid
}

case "${1:-}" in
start) start ;;
stop) stop TERM ;;
wait) wait_ready ;;
restart)
    stop TERM
    start
    ;;
kill) stop KILL ;;
status) print_status ;;
env) echo "RABBITMQ_URL=amqp://guest:guest@127.0.0.1:$port/%2f" ;;
log) cat "$log" ;;
ctl)
    shift
    broker_pid >/dev/null || fail "the broker is not running"
    ctl "$@"
    ;;
*)
    echo "usage: $0 {start|stop|wait|restart|status|env|log|ctl ARGS...|kill}" >&2
    exit 2
    ;;
esac
