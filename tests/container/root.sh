#!/usr/bin/env bash
# Builds the static binary, and lays out what the image is made of: FOLDER/root is its root filesystem, FOLDER/state
# its folder for the state, which belongs to the user that it runs as.
#
#   tests/container/root.sh FOLDER
#
# The binary is linked against glibc statically; it still reads /etc/hosts and /etc/resolv.conf for names. The
# certificate roots are those of the machine that builds. BRIDGE_BINARY=FILE takes a binary that is built already.
set -euo pipefail

out=$1
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# A folder of its own for each set of flags: one build must not throw away the other's dependencies.
target=${CARGO_TARGET_DIR:-$project/target}/static
triple=$(rustc -vV | sed -n 's/^host: //p')

build() {
    cd "$project"
    # A static binary moves its own addresses at the start: packed, their list takes 1.5 MB less.
    CARGO_TARGET_DIR=$target RUSTFLAGS='-C target-feature=+crt-static' \
        cargo rustc --locked --features vendored --profile dist --target "$triple" --bin bridge -- -C link-arg=-Wl,-z,pack-relative-relocs
}

[[ -n ${BRIDGE_BINARY:-} ]] || (build)
rm -rf "$out"
root=$out/root
install -D -m 755 "${BRIDGE_BINARY:-$target/$triple/dist/bridge}" "$root/bridge"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
# Who the process is has no name otherwise.
install -D -m 644 /dev/stdin "$root/etc/passwd" <<<'bridge:x:65532:65532:bridge:/var/lib/bridge:/bridge'
# Where an engine mounts what a container needs: it cannot make these in a read-only root.
install -d -m 755 "$root"/{etc/bridge,run,run/secrets,proc,sys,dev,var,var/lib}
install -d -m 1777 "$root/tmp"
install -d -m 700 "$out/state"
