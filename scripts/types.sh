#!/usr/bin/env bash
# scripts/types.sh VENV: mypy --strict and pyright over the package's typed surface, the samples and the examples,
# with the installed wheel as what they import. Fails if there is nothing to read.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
mapfile -t files < <(git ls-files -- 'examples/*.py' 'bindings-python/tests/typing/*.py' 'bindings-python/samples/*.py')
if [ ${#files[@]} = 0 ]; then
    echo "types: no examples and no typed samples to read" >&2
    exit 1
fi
status=0
for file in "${files[@]}"; do
    # one at a time: examples of different folders may share a module name
    "$venv/bin/mypy" --strict --no-error-summary "$file" || status=1
done
echo "mypy --strict: ${#files[@]} files"
if command -v npm >/dev/null; then
    (cd scripts/pyright && npm ci --silent --no-audit --no-fund)
    node scripts/pyright/node_modules/pyright/index.js --pythonpath "$venv/bin/python" "${files[@]}" || status=1
else
    echo "types: MISSING npm: pyright was not run" >&2
fi
exit $status
