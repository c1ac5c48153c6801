#!/usr/bin/env bash
# Draws docs/reliability.svg from the reports of make torture, target/torture-pg*.json.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

need_python_packages tests/torture/picture/requirements.txt
"$PYTHON" tests/torture/picture/picture.py --output docs/reliability.svg target/torture-pg*.json
say "docs/reliability.svg"
