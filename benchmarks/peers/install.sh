#!/usr/bin/env bash
# One virtual environment for each peer, and one for this project, from locks/.
#
#     benchmarks/peers/install.sh venvs               # all of them
#     benchmarks/peers/install.sh venvs rensa daft    # these environments
#
# An environment that has what is asked for is left as it is. The Pythons that locks/*.in name must
# be installed: as python3.11 on the path, or where pyenv keeps them.
set -euo pipefail
mkdir -p "$1"
into=$(realpath "$1")
shift
cd "$(dirname "$0")/../.."
locks=benchmarks/peers/locks
if [ $# -eq 0 ]; then
    for file in "$locks"/*.in; do set -- "$@" "$(basename "$file" .in)"; done
fi
failed=
for name in "$@"; do
    wanted=$(cat "$locks/$name.in" "$locks/$name.txt")
    if [ "$wanted" = "$(cat "$into/$name/installed.txt" 2>/dev/null)" ]; then
        echo "$name: there already"
        continue
    fi
    version=$(sed -n 's/^# Python //p' "$locks/$name.in")
    python=$(command -v "python$version" || true)
    "${python:-false}" -c '' 2>/dev/null ||
        python=$(printf '%s\n' "$HOME"/.pyenv/versions/"$version".*/bin/python | tail -n 1)
    if "$python" -m venv --clear "$into/$name" &&
        "$into/$name/bin/python" -m pip install --quiet --upgrade pip &&
        "$into/$name/bin/python" -m pip install --quiet --constraint "$locks/$name.txt" \
            --requirement "$locks/$name.in"; then
        echo "$wanted" >"$into/$name/installed.txt"
        echo "$name: installed"
    else
        failed="$failed $name"
    fi
done
if [ -n "$failed" ]; then
    echo "not installed:$failed" >&2
    exit 1
fi
