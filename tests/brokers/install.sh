#!/usr/bin/env bash
# Installs what building and testing need from Debian's archive: the one list of it.
# What is there already, by whatever way it came, is left alone. Rust itself is not
# installed: rustup must be there.
set -euo pipefail

# A plain user's PATH often lacks the sbin folders, where some of the commands are.
PATH="$PATH:/usr/sbin:/sbin"

have() { command -v "$1" >/dev/null 2>&1; }

# A JDK of 17 or newer on PATH will do, whoever made it: Kafka 4 asks no more than that.
have_java() {
    local version
    version=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/.*java\.specification\.version = //p') || return 1
    [[ ${version%%.*} =~ ^[0-9]+$ && ${version%%.*} -ge 17 ]]
}

# The C and C++ compilers build librdkafka, SQLite and ring; headers are asked for
# as well, since a bare image may have a compiler that can compile nothing.
have_compilers() {
    printf '#include <cstdlib>\n' | c++ -x c++ -E - >/dev/null 2>&1 &&
        printf '#include <stdlib.h>\n' | cc -x c -E - >/dev/null 2>&1
}

# Libraries of librdkafka: their headers are what is asked for.
have_library() { pkg-config --exists "$1" 2>/dev/null; }

# OpenSSL's Configure, in the image's build, wants modules that Debian's perl-base does not have.
have_perl() { perl -MIPC::Cmd -MFindBin -MTime::Piece -e 1 >/dev/null 2>&1; }

have_rabbitmq() { [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || have rabbitmq-server; }

# Debian's wrappers are on PATH, the server itself is not.
have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || have postgres; }

# Each Debian release carries one or two JDKs, and 17 is not in all of them.
jdk_package() {
    if apt-cache policy openjdk-17-jdk-headless 2>/dev/null | grep 'Candidate: [0-9]' >/dev/null; then
        echo openjdk-17-jdk-headless
    else
        echo default-jdk-headless
    fi
}

missing_packages() {
    # To build.
    have_compilers || echo build-essential
    have cmake || echo cmake
    have make || echo make
    have pkg-config || echo pkg-config
    have_library openssl || echo libssl-dev
    have_library libzstd || echo libzstd-dev
    have_library zlib || echo zlib1g-dev
    # To test.
    have_java || jdk_package
    have mvn || echo maven
    have_rabbitmq || echo rabbitmq-server
    have_postgres || echo postgresql
    have logrotate || echo logrotate # rabbitmq-server depends on it
    have kcat || echo kcat
    have ps || echo procps
    have nginx || echo nginx-light
    have openssl || echo openssl
    # To run the functions of docs/verify-signatures.md (python3: see below).
    have node || echo nodejs
    have go || echo golang-go
    # To build the image and run it (tests/container).
    have_perl || echo perl
    have buildah || echo buildah
    have unshare || echo util-linux
    have python3 || echo python3
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
}

# Debian starts a service as soon as its package is in. The tests start their own
# RabbitMQ and PostgreSQL on their own ports, so the system's must neither start now nor at
# boot.
install_packages() {
    local policy=/usr/sbin/policy-rc.d own_policy=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        own_policy=$policy
        # shellcheck disable=SC2064 # the name is wanted as it is now
        trap "rm -f '$policy'" EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null
    if [[ " $* " == *" rabbitmq-server "* ]]; then
        # A policy-rc.d that was there before may allow starts. epmd is asked first, as
        # stopping a service that does not run would start one; epmd itself refuses to
        # end while another Erlang node needs it.
        if epmd -names >/dev/null 2>&1; then
            invoke-rc.d --force rabbitmq-server stop || true
            epmd -kill || true
        fi
        if have systemctl; then
            systemctl --quiet disable rabbitmq-server.service epmd.socket >/dev/null 2>&1 || true
        fi
    fi
    if [[ " $* " == *" postgresql "* ]] && have systemctl; then
        systemctl --quiet disable --now postgresql.service >/dev/null 2>&1 || true
    fi
    [[ -z $own_policy ]] || rm -f "$own_policy"
}

if ! have cargo; then
    echo "install.sh: cargo is missing: install Rust with rustup first, and have ~/.cargo/bin on PATH" >&2
    exit 1
fi

mapfile -t missing < <(missing_packages)
if [[ ${#missing[@]} -eq 0 ]]; then
    echo "install.sh: everything that building and testing need is here"
    exit 0
fi

if [[ $(id -u) -ne 0 ]]; then
    echo "install.sh: missing, run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
if ! have apt-get; then
    echo "install.sh: no apt-get here; install what these Debian packages bring: ${missing[*]}" >&2
    exit 1
fi

apt-get update -q </dev/null
mapfile -t missing < <(missing_packages) # once more: apt may only now know its JDKs
echo "install.sh: installing ${missing[*]}"
install_packages "${missing[@]}"

# An older java may still come first on PATH, for one; better said here than by Kafka.
mapfile -t missing < <(missing_packages)
if [[ ${#missing[@]} -ne 0 ]]; then
    echo "install.sh: installed, but still not usable: ${missing[*]} (is another one first on PATH?)" >&2
    exit 1
fi
