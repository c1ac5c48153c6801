# Sourced by setup.sh: virtual environments of Python. What it sets is for those who source it.
# shellcheck shell=bash disable=SC2034

# need_python_packages FILE: sets PYTHON to that of a virtual environment with these packages, which have to be
# the very files whose hashes stand there: FILE is made by pip-compile from the one beside it that ends in .in.
need_python_packages() {
  local file=$PROJECT/$1 venv
  venv=$TOOLS_DIR/python-$(dirname "$1" | tr / -)
  if ! cmp -s "$file" "$venv/requirements.txt"; then
    say "installing the Python packages of $1"
    need_packages python3-venv
    rm -rf "$venv"
    python3 -m venv "$venv"
    quietly "pip-$(basename "$venv")" "$venv/bin/pip" install --require-hashes -r "$file"
    # Last, so that a half-filled environment is made anew.
    cp "$file" "$venv/"
  fi
  PYTHON=$venv/bin/python
}
