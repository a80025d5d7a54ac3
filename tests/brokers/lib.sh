# shellcheck shell=bash
# What kafka.sh, rabbitmq.sh and postgres.sh share: where an instance lives, and how its daemon is
# started detached, watched and ended. The script that sources this sets `name` (what
# to call the broker), `dir` (the instance's folder), `log`, `asked_port` (empty when any port
# will do) and `default_port`, calls `find_port`, and defines `broker_pid` and `ready`.
# shellcheck disable=SC2154

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

# Everything is kept below cargo's target folder, so that `cargo clean` takes it along.
# A relative CARGO_TARGET_DIR is taken from the root, or it would move with the caller.
target=${CARGO_TARGET_DIR:-target}
[[ $target == /* ]] || target="$root/$target"

instance=${BROKER_INSTANCE:-main}
if [[ ! $instance =~ ^[A-Za-z0-9_-]+$ ]]; then
    echo "BROKER_INSTANCE may hold letters, digits, - and _ only, not: $instance" >&2
    exit 2
fi

start_limit=90 # seconds until a broker that is not ready counts as failed
stop_limit=20  # seconds until a broker that does not end by itself is killed

say() { echo "$name ($instance): $*" >&2; }

# One change of an instance at a time: tests run side by side and may all `start` it.
lock_instance() {
    mkdir -p "$dir"
    exec 9>"$dir/lock"
    flock 9
    find_port # another call may have chosen one meanwhile
}

# Sets `port`: the one that is asked for, or the one that this instance was started on last.
find_port() {
    port=${asked_port:-$default_port}
    if [[ -z $asked_port && -s $dir/port ]]; then port=$(<"$dir/port"); fi
}

# When a process started, in the kernel's ticks; fails for one that has ended, also for
# a zombie, which may stay for good in a container whose init reaps nothing.
started_at() { # PID
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    read -ra stat <<<"${stat##*) }" # behind the command's name: state, parent, ...
    [[ ${stat[0]} != [ZX] ]] && echo "${stat[19]}"
}

# Prints the pid that `launch` noted if that very process is still alive: by its start
# too, as the number alone may be another process's by now.
pid_of() { # PIDFILE
    local pid start
    [[ -s $1 ]] && read -r pid start <"$1" || return 1
    [[ $(started_at "$pid") == "$start" ]] && echo "$pid"
}

# Starts a daemon that survives the caller's session and holds none of its files, nor
# the lock: whoever reads the caller's output to its end, as a test or make does, would
# otherwise wait for the broker's.
launch() { # PIDFILE LOGFILE COMMAND...
    local pidfile=$1 logfile=$2
    shift 2
    (
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            ((fd <= 2)) || eval "exec $fd>&-"
        done
        exec setsid "$@"
    ) </dev/null >>"$logfile" 2>&1 &
    echo "$! $(started_at $!)" >"$pidfile"
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Says so beforehand when a port is taken. The broker would fail as well, but another
# broker's answer on that port could be mistaken for it until then.
require_free() { # PORT...
    local port
    for port; do
        if port_open "$port"; then
            echo "port $port of 127.0.0.1 is taken by another process" >>"$log"
            fail "not started: port $port is taken by another process"
        fi
    done
}

# Before a start: keeps the port that is asked for, or looks for one that is free together
# with those that follow it, and notes it for the calls to come. Nothing listens on it yet,
# so what other instances have noted is not taken either.
claim_ports() { # COUNT
    local first=$port offset
    exec 7>"$target/brokers/ports.lock"
    flock 7
    if [[ -n $asked_port ]]; then
        for ((offset = 0; offset < $1; offset++)); do require_free $((port + offset)); done
    else
        until ports_free "$1"; do
            port=$((port + 10))
            ((port < first + 1000)) || fail "not started: no free port from $first to $port"
        done
        [[ $port == "$first" ]] || say "port $first or one behind it is taken, using $port"
    fi
    echo "$port" >"$dir/port"
    exec 7>&-
}

ports_free() { # COUNT
    local other offset
    for other in "$target"/brokers/*/port; do
        [[ $other == "$dir/port" || ! -s $other || $(<"$other") != "$port" ]] || return 1
    done
    for ((offset = 0; offset < $1; offset++)); do
        ! port_open $((port + offset)) || return 1
    done
}

fail() {
    say "$*; the end of $log:"
    tail -n 60 "$log" >&2 2>/dev/null || true
    exit 1
}

# Waits until the broker answers; fails at once when it has died instead.
wait_ready() {
    local end=$((SECONDS + start_limit))
    until ready; do
        broker_pid >/dev/null || fail "the broker is not running"
        ((SECONDS < end)) || fail "not ready within $start_limit s"
        sleep 0.2
    done
    broker_pid >/dev/null || fail "the broker is not running"
}

wait_gone() { # SECONDS FUNCTION-THAT-PRINTS-PID
    local end=$((SECONDS + $1))
    while "$2" >/dev/null; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

end_process() { # SIGNAL FUNCTION-THAT-PRINTS-PID
    local pid
    pid=$("$2") || return 0
    kill "-$1" "$pid" 2>/dev/null || true
    wait_gone "$stop_limit" "$2" && return
    say "still there $stop_limit s after SIG$1, killing it"
    kill -KILL "$pid" 2>/dev/null || true
    wait_gone "$stop_limit" "$2" || fail "cannot be killed"
}

print_status() {
    local pid
    if pid=$(broker_pid); then
        echo "running, pid $pid, data in $dir"
    else
        echo "stopped"
        return 3 # as an init script's status does
    fi
}
