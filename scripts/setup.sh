#!/usr/bin/env bash
# Installs what a make target lacks, and nothing that is there already.
#
#   scripts/setup.sh rust python          needed: fails when one of them cannot be had
#   scripts/setup.sh --try node go java   wanted: says on one line what is missing, and goes on
#
# Known words: rust (cargo 1.89 or newer, a C compiler), wasm (the wasm32 target), python (3.11 or newer with venv),
# node, go, java (with Maven). System packages come from apt, as root, on Debian and its kin; elsewhere the one line
# says what to install. No registry is named here: every tool uses the one its own configuration gives it.
set -uo pipefail
cd "$(dirname "$0")/.."

RUST_PINNED=1.95.0
RUST_LEAST=1.89
export DEBIAN_FRONTEND=noninteractive
export PATH="$PATH:$HOME/.cargo/bin:/usr/local/go/bin"

have() { command -v "$1" >/dev/null 2>&1; }

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

apt_updated=no
apt_install() {
    have apt-get || return 1
    [ "$(id -u)" = 0 ] || return 1
    if [ "$apt_updated" = no ]; then
        apt-get update -q </dev/null >&2 || return 1
        apt_updated=yes
    fi
    echo "setup: apt-get install $*" >&2
    apt-get install -y -q --no-install-recommends "$@" </dev/null >&2
}

cargo_is_new_enough() {
    have cargo && at_least "$RUST_LEAST" "$(cargo --version 2>/dev/null | cut -d' ' -f2)"
}

need_rust() {
    have cc || apt_install gcc libc6-dev || { missing="a C compiler (package gcc)"; return 1; }
    if ! cargo_is_new_enough; then
        have rustup || apt_install rustup || { missing="cargo $RUST_LEAST or newer (package rustup)"; return 1; }
        rustup toolchain install "$RUST_PINNED" --profile minimal --component clippy,rustfmt </dev/null >&2 &&
            rustup default "$RUST_PINNED" >&2
        cargo_is_new_enough || { missing="cargo $RUST_LEAST or newer (rustup could not install $RUST_PINNED)"; return 1; }
    fi
}

need_wasm() {
    need_rust || return 1
    local sysroot
    sysroot=$(rustc --print sysroot)
    [ -d "$sysroot/lib/rustlib/wasm32-unknown-unknown" ] && return 0
    have rustup && rustup target add wasm32-unknown-unknown </dev/null >&2 && return 0
    missing="the Rust target wasm32-unknown-unknown"
    return 1
}

need_python() {
    scripts/pythons.sh first >/dev/null 2>&1 && return 0
    apt_install python3 python3-venv || true
    scripts/pythons.sh first >/dev/null 2>&1 || { missing="Python 3.11 or newer with venv (packages python3, python3-venv)"; return 1; }
}

need_node() {
    { have node && have npm; } || apt_install nodejs npm || { missing="Node and npm (packages nodejs, npm)"; return 1; }
}

need_go() {
    have go || apt_install golang-go || { missing="Go (package golang-go)"; return 1; }
}

need_java() {
    { have javac && have mvn; } || apt_install default-jdk-headless maven ||
        { missing="a JDK and Maven (packages default-jdk-headless, maven)"; return 1; }
}

try=no
failed=0
for word in "$@"; do
    if [ "$word" = --try ]; then
        try=yes
        continue
    fi
    declare -F "need_$word" >/dev/null || { echo "setup: unknown word $word" >&2; exit 2; }
    missing=""
    if ! "need_$word"; then
        echo "setup: MISSING $word: ${missing:-see above}; it could not be installed here" >&2
        [ "$try" = yes ] || failed=1
    fi
done
exit "$failed"
