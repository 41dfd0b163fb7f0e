#!/usr/bin/env bash
# Installs the AsyncAPI project's own parser into .cache/asyncapi, by the hashes of its lock, where
# node and npm are there: a test holds schemas/asyncapi.json against it. Scripts of packages are not
# run. Says what it does. Without node, or without a registry, that test is skipped, and another one
# holds the document against AsyncAPI's JSON Schema all the same.
set -euo pipefail
cd "$(dirname "$0")/.."

from=tests/asyncapi
to=.cache/asyncapi

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "asyncapi: no node or no npm here: the test with AsyncAPI's own parser is skipped"
  exit 0
fi
if [ -e "$to/.stamp" ] && cmp -s "$from/package-lock.json" "$to/package-lock.json"; then
  exit 0
fi

mkdir -p "$to"
rm -f "$to/.stamp"
cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$to"
echo "asyncapi: installing @asyncapi/parser into $to"
if ! npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null; then
  rm -f "$to/package-lock.json"
  echo "asyncapi: npm failed: the test with AsyncAPI's own parser is skipped"
  exit 0
fi
# The stamp comes last, so that an interrupted installation is done again.
touch "$to/.stamp"
