#!/usr/bin/env bash
# Official Python clients: the service's SDK against the emulator, as a real client of the real service, in checks
# and in a program of the ordinary kind; and that of the Model Context Protocol against `objlib mcp`, as an agent.
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

# The seed makes ids and times the same every time, so that all that the program prints can be compared.
folder=$(mktemp -d)
"$objlib" emulator --port 0 --seed 20 --operation-delay-ms 15000 >"$folder/service" &
service=$!
trap 'kill "$service"; rm -r "$folder"' EXIT
until url=$(grep -m 1 -o 'http://.*' "$folder/service"); do
  kill -0 "$service"
  sleep 0.1
done
env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY \
  GOOGLE_GEMINI_BASE_URL="$url" GEMINI_API_KEY=local "$venv/bin/python" tests/sdk/program.py | tee "$folder/said"
diff tests/sdk/program.txt "$folder/said"
