#!/usr/bin/env bash
# Builds the image's last stage for real and runs its root filesystem as a container engine would: with a read-only
# root, as PID 1 in a PID namespace of its own, without any privilege. Needs root, buildah and util-linux; no engine, no
# base image, no net.
#
#   tests/container/image.sh
#
# The first stage of the Dockerfile needs a base image; what it does is root.sh, which runs on this machine here.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
most_bytes=$((40 * 1000 * 1000))
id=65532

work=$(mktemp -d)
storage=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs)
container=
root=
bytes=
listener_pid=
bridge_pid=

finish() {
    local status=$?
    [[ -z $bridge_pid ]] || kill -KILL "$bridge_pid" 2>/dev/null || true
    [[ -z $listener_pid ]] || kill "$listener_pid" 2>/dev/null || true
    [[ -z $container ]] || buildah "${storage[@]}" umount "$container" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT

fail() {
    echo "image.sh: $*" >&2
    [[ ! -s $work/log ]] || sed 's/^/  log: /' "$work/log" >&2
    exit 1
}

build() {
    "$here/root.sh" "$work/stage/out"
    # A build context of the first stage's name takes its place.
    buildah "${storage[@]}" build --isolation chroot --format docker --build-context "build=$work/stage" \
        --tag bridge "$project" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "the image cannot be built"; }
}

inspect() {
    local expected actual
    expected="65532:65532 [/bridge] [run /etc/bridge]"
    actual=$(buildah "${storage[@]}" inspect --type image \
        --format '{{.Docker.Config.User}} {{.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd}}' bridge)
    [[ $actual == "$expected" ]] || fail "the image is configured as '$actual', not as '$expected'"
    buildah "${storage[@]}" inspect --type image --format '{{.Docker.Config.Healthcheck.Test}}' bridge |
        grep -q '/bridge health' || fail "the image has no health check"
}

# What an engine does: own mounts and PIDs, the root read-only, the volumes in their places, no privilege, PID 1.
run_as_container() { # ROOT ARGS...
    exec unshare --mount --pid --fork --kill-child=KILL -- bash -c '
        set -euo pipefail
        root=$1 volumes=$2 id=$3
        shift 3
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
        for device in null zero full random urandom tty; do
            touch "$root/dev/$device"
            mount --bind "/dev/$device" "$root/dev/$device"
        done
        mount --bind "$volumes/config" "$root/etc/bridge"
        mount -o remount,bind,ro "$root/etc/bridge"
        mount --bind "$volumes/state" "$root/var/lib/bridge"
        mount -o remount,bind,ro "$root"
        exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \
            chroot --userspec="$id:$id" --groups= "$root" "$@"
    ' container "$1" "$work/volumes" "$id" "${@:2}"
}

# As the engine runs a health check.
within() { # PID COMMAND...
    nsenter --target "$1" --mount --pid --root --wd=/ --setgid "$id" --setuid "$id" "${@:2}"
}

wait_for() { # WHAT COMMAND...
    local what=$1 tries=200
    shift
    until "$@" >/dev/null 2>&1; do
        ((tries-- > 0)) || fail "waited in vain: $what"
        sleep 0.1
    done
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

open_image() {
    container=$(buildah "${storage[@]}" from bridge)
    root=$(buildah "${storage[@]}" mount "$container")
    local owner
    bytes=$(find "$root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
    owner=$(stat -c '%u:%g' "$root/var/lib/bridge")
    [[ $owner == "$id:$id" ]] || fail "/var/lib/bridge belongs to $owner"
}

# With nothing but what is in the image: the certificate roots are found.
check_pipeline() {
    cat >"$work/volumes/config/tls.toml" <<END
name = "tls"
[sources.input]
type = "stdin"
[sinks.out]
type = "webhook"
from = ["input"]
url = "https://example.com/hook"
END
    (run_as_container "$root" /bridge check /etc/bridge/tls.toml) >/dev/null || fail "TLS is not ready"
    rm "$work/volumes/config/tls.toml"
}

run() {
    local receiver admin pid
    receiver=$(free_port)
    admin=$(free_port)
    cat >"$work/volumes/config/pipeline.toml" <<END
name = "container"
[sources.input]
type = "file"
paths = ["/var/lib/bridge/in/*.jsonl"]
[sinks.out]
type = "webhook"
from = ["input"]
url = "http://localhost:$receiver/hook"
END
    install -m 644 /etc/hosts "$root/etc/hosts" # as an engine does

    "$root/bridge" listen --addr "127.0.0.1:$receiver" >"$work/received" 2>/dev/null &
    listener_pid=$!
    (
        export BRIDGE_STATE_DIR=/var/lib/bridge BRIDGE_ADMIN="127.0.0.1:$admin"
        run_as_container "$root" /bridge run /etc/bridge
    ) 2>"$work/log" &
    bridge_pid=$!
    install -d -o "$id" -g "$id" "$work/volumes/state/in"
    echo '{"n":1}' >"$work/volumes/state/in/a.jsonl"
    wait_for "the event arrives" grep -q '"n": 1' "$work/received"
    pid=$(pgrep --parent "$bridge_pid")
    has_no_privilege "$pid"
    wait_for "it is healthy" within "$pid" /bridge health --admin "127.0.0.1:$admin"
    wait_for "it is ready" within "$pid" /bridge health --admin "127.0.0.1:$admin" --ready
    ends_in_order "$pid"
    [[ -s $work/volumes/state/container/store.db ]] || fail "there is no store in the volume"
}

has_no_privilege() { # PID
    local status
    status=$(cat "/proc/$1/status")
    grep -q "^Uid:[[:space:]]${id}[[:space:]]${id}" <<<"$status" || fail "it does not run as user $id"
    grep -q '^CapEff:[[:space:]]0*$' <<<"$status" || fail "it has capabilities"
    grep -q '^NoNewPrivs:[[:space:]]1' <<<"$status" || fail "it may gain privileges"
    grep -q '^NSpid:.*[[:space:]]1$' <<<"$status" || fail "it is not PID 1"
    grep -qE '^[0-9]+ [0-9]+ [0-9:]+ [^ ]+ / ro' "/proc/$1/mountinfo" || fail "its root can be written to"
}

ends_in_order() { # PID
    local begin=$SECONDS status=0
    kill -TERM "$1"
    wait "$bridge_pid" || status=$?
    bridge_pid=
    ((status == 0)) || fail "it ended with status $status at SIGTERM"
    ((SECONDS - begin < 30)) || fail "it took $((SECONDS - begin)) s to end"
}

install -d "$work/volumes/config"
install -d -o "$id" -g "$id" "$work/volumes/state"
build
inspect
open_image
check_pipeline
run
((bytes <= most_bytes)) || fail "the image works, but has $bytes bytes, more than $most_bytes"
echo "image.sh: the image works, and has $bytes bytes"
