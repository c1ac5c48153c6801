#!/usr/bin/env bash
# Draws the pictures of README and docs/ from the figures in bench/measured, which are copies of what make torture, make bench,
# make bench-rivals and make bench-waits leave in target/. Each is drawn for white pages and for black ones.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

need_python_packages bench/pictures/requirements.txt
measured=bench/measured
export PYTHONPATH=bench/pictures PYTHONDONTWRITEBYTECODE=1
"$PYTHON" bench/pictures/name.py --output docs/name.svg
"$PYTHON" bench/pictures/speed.py --output docs/speed.svg $measured/bench-pg*.json
"$PYTHON" bench/pictures/rivals.py --output docs/rivals.svg $measured/rivals.json
"$PYTHON" bench/pictures/waits.py --output docs/monitoring.svg $measured/waits.csv
"$PYTHON" bench/pictures/reliability.py --output docs/reliability.svg $measured/torture-pg*.json
say "docs/{name,speed,rivals,monitoring,reliability}{,-dark}.svg"
