#!/usr/bin/env bash
# scripts/conformance.sh [options of the runner]: protobuf's own conformance suite against our codec.
#
# Runner, protoc and test messages come from PyPI (scripts/requirements/conformance.txt). The runner wants glibc 2.38; on
# an older system it is started through the loader of Debian 13, whose three libraries are unpacked into a folder (needs
# apt-get and dpkg-deb, neither of them as root). Nothing is installed. Everything lies in build/conformance-protobuf,
# with a list of what failed. The text format is not implemented: its tests count as skipped.
#
#   scripts/conformance.sh --test Required.Proto3.JsonInput.BoolFieldTrue.JsonOutput   one test alone
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
work=$root/build/conformance-protobuf
pins=$root/scripts/requirements/conformance.txt
mkdir -p "$work"

if [ "$(cat "$work/.made-from" 2>/dev/null)" != "$(cat "$pins")" ]; then
    rm -rf "$work/wheel" "$work/protoc"
    "$(scripts/pythons.sh first)" -m pip download --quiet --disable-pip-version-check --no-deps \
        --dest "$work/wheel" -r "$pins" </dev/null
    "$(scripts/pythons.sh first)" -m zipfile -e "$work"/wheel/*.whl "$work"
    chmod +x "$work"/protoc/_bin/*
    cp "$pins" "$work/.made-from"
fi

# The system's own glibc, if it is new enough; else Debian 13's, beside the runner.
glibc_of_debian_13() {
    local folder=$work/debian-13
    if [ ! -e "$folder/root/usr/lib/x86_64-linux-gnu/libc.so.6" ]; then
        mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/root"
        cat >"$folder/trixie.sources" <<END
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
        local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$folder/trixie.sources" -o Dir::Etc::sourceparts=-
            -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o Dir::State::status=/dev/null
            -o APT::Sandbox::User=)
        "${apt[@]}" update </dev/null >&2
        (cd "$folder" && "${apt[@]}" download libc6 libstdc++6 libgcc-s1 </dev/null >&2)
        for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
    fi
    echo "$folder/root/usr/lib/x86_64-linux-gnu"
}

runner=("$work/protoc/_bin/conformance_test_runner")
have=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
if [ "$(printf '%s\n2.38\n' "${have:-0}" | sort -V | head -n 1)" != 2.38 ]; then
    libraries=$(glibc_of_debian_13)
    runner=("$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "${runner[@]}")
fi

export CONFORMANCE_SET=$work/set.binpb
(cd "$work/protoc/include" && ../_bin/protoc -I. --experimental_editions --include_imports -o "$CONFORMANCE_SET" \
    conformance/conformance.proto conformance/messages/*.proto)
# unoptimised, so that overflow and debug assertions count as failures
cargo build --quiet --locked -p stubless-conformance-protobuf
testee=${CARGO_TARGET_DIR:-$root/target}/debug/stubless-conformance-protobuf

# the runner puts its deepest messages on its own stack
ulimit -s unlimited 2>/dev/null || true
rm -f "$work"/*failing_tests.txt
run() {
    local name=$1 status=0
    shift
    "${runner[@]}" --enforce_recommended --maximum_edition UNSTABLE --output_dir "$work/" "$@" "$testee" \
        >"$work/$name.log" 2>&1 || status=$?
    # two suites a run: binary and JSON first, then the text format
    echo "$name: $(grep -E '^CONFORMANCE SUITE|unexpected|^ERROR' "$work/$name.log" | head -n 40)"
    if [ "$status" != 0 ]; then
        echo "conformance: failed (exit status $status); see $work/$name.log" >&2
        exit "$status"
    fi
}
run conformance "$@"
[ $# != 0 ] || run performance --performance
