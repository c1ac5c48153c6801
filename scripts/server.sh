# Sourced after setup.sh: throwaway Postgres servers of the major that PG_CONFIG names.
# shellcheck shell=bash

# make_scratch NAME: sets SCRATCH to a new folder. When the script ends, it is gone, and so are the servers that were started right below it.
make_scratch() {
  SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-$1.XXXXXX")
  chmod 755 "$SCRATCH"
  trap remove_scratch EXIT
}

remove_scratch() {
  local dir
  for dir in "$SCRATCH"/*/; do stop_server "${dir%/}"; done
  rm -rf "$SCRATCH"
}

# A TCP port that is free on the loopback.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Postgres refuses to run as root.
as_server_user() {
  if is_root; then
    (cd / && runuser -u postgres -- env -u RUST_BACKTRACE "$@")
  else
    env -u RUST_BACKTRACE "$@"
  fi
}

# start_server DIR [setting=value …]: a new, empty server in DIR, in the place of the one before; only on a
# Unix socket in DIR, which asks for no password, and so is for its own user and root alone. Sets PGHOST, PGPORT and PGUSER for it.
start_server() {
  local dir=$1 bin setting
  shift
  bin=$("$PG_CONFIG" --bindir)
  stop_server "$dir"
  mkdir -p "$dir"
  rm -rf "${dir:?}"/{data,server.log}
  if is_root; then chown postgres "$dir"; fi
  as_server_user "$bin/initdb" -D "$dir/data" -U postgres --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C --no-sync >/dev/null
  for setting in listen_addresses= unix_socket_permissions=0700 fsync=off "$@"; do
    printf '%s\n' "${setting%%=*} = '${setting#*=}'"
  done | as_server_user tee -a "$dir/data/postgresql.conf" >/dev/null
  export PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
  as_server_user "$bin/pg_ctl" -D "$dir/data" -w -s -l "$dir/server.log" \
    -o "-k '$dir'" start || { tail -n 20 "$dir/server.log" >&2; return 1; }
}

# stop_server DIR: ends what start_server started there, if it still runs.
stop_server() {
  if [ -f "$1/data/postmaster.pid" ]; then
    as_server_user "$("$PG_CONFIG" --bindir)/pg_ctl" -D "$1/data" -m immediate -w -s stop || true
  fi
}
