#!/usr/bin/env bash
# Builds the static binary, and lays out the root filesystem of the image in a folder:
#
#   tests/container/root.sh FOLDER
#
# The binary is linked against glibc statically; it still reads /etc/hosts and /etc/resolv.conf for names. The
# certificate roots are those of the machine that builds.
set -euo pipefail

out=$1
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# A folder of its own for each set of flags: one build must not throw away the other's dependencies.
target=${CARGO_TARGET_DIR:-$project/target}/static
triple=$(rustc -vV | sed -n 's/^host: //p')

(
    cd "$project"
    CARGO_TARGET_DIR=$target RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --locked --profile dist --target "$triple" --bin bridge
)

rm -rf "$out"
install -D -m 755 "$target/$triple/dist/bridge" "$out/bridge"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/ca-certificates.crt"
# Who the process is has no name otherwise.
install -D -m 644 /dev/stdin "$out/etc/passwd" <<<'bridge:x:65532:65532:bridge:/var/lib/bridge:/bridge'
install -d -m 755 "$out/etc/bridge" "$out/var" "$out/var/lib"
install -d -m 700 "$out/var/lib/bridge"
