#!/usr/bin/env bash
# The CPythons of this machine that the package supports (3.11 to 3.13) and that can make a venv, oldest first:
# one line each, `version path`. With `first`: only the path of the first, or failure if there is none.
#
# pyenv's shims exist for versions that are not active, so a name on PATH proves nothing: each candidate is run.
set -uo pipefail

found=$(
    for minor in 11 12 13; do
        for candidate in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.$minor.*/bin/python3 python3; do
            path=$("$candidate" - "$minor" 2>/dev/null <<'PY'
import sys, venv, ensurepip
minor = int(sys.argv[1])
free_threaded = hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled()
if sys.implementation.name == "cpython" and sys.version_info[:2] == (3, minor) and not free_threaded:
    print(sys.executable)
PY
            ) || continue
            [ -n "$path" ] || continue
            echo "3.$minor $path"
            break
        done
    done
)
[ -n "$found" ] || exit 1
if [ "${1:-}" = first ]; then
    head -n 1 <<<"$found" | cut -d' ' -f2
else
    echo "$found"
fi
