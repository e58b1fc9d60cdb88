#!/usr/bin/env bash
# scripts/venv.sh FOLDER PYTHON REQUIREMENTS...: a virtual environment that holds exactly what the pinned files say.
# Made anew when the interpreter or a requirements file changed, otherwise left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$1 python=$2
shift 2
want="$("$python" -c 'import sys; print(sys.version)') $(cat "$@" | sha256sum)"
if [ "$(cat "$folder/.made-from" 2>/dev/null)" != "$want" ] || ! "$folder/bin/python" -c '' 2>/dev/null; then
    rm -rf "$folder"
    "$python" -m venv "$folder"
    files=()
    for file in "$@"; do files+=(-r "$file"); done
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${files[@]}" </dev/null
    printf '%s' "$want" >"$folder/.made-from"
fi
