#!/usr/bin/env bash
# Official Python clients: the service's SDK against the emulator, as a real client of the real service, and
# that of the Model Context Protocol against `objlib mcp`, as an agent.
# Usage: tests/sdk/run.sh [PATH TO objlib]   (builds a debug binary if none is given)
set -euo pipefail
cd "$(dirname "$0")/../.."
objlib=${1:-}
if [ -z "$objlib" ]; then
  cargo build --quiet
  objlib=target/debug/objlib
fi
venv=target/sdk-venv
want=$(cat tests/sdk/requirements.txt)
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$want" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
  echo "$want" > "$venv/installed"
fi
"$venv/bin/python" tests/sdk/check.py "$objlib"
"$venv/bin/python" tests/sdk/agent.py "$objlib"
