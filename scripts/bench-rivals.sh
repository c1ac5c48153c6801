#!/usr/bin/env bash
# Measures the release build and the portable edition beside core, Redis, MariaDB and etcd, all of them throwaway servers on Unix sockets;
# options go to bench/rivals/rivals.py. The figures stand in target/bench-rivals.json afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh

set_up
# Those packages of Debian's that have the programs, and start no service.
need_packages mariadb-server-core redis-tools python3
build_extension
install_extension

make_scratch rivals
pids=()
stop_all() {
  stop_server "$SCRATCH/postgres"
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
  remove_scratch
}
trap stop_all EXIT
if is_root; then chown postgres "$SCRATCH"; fi
chmod 700 "$SCRATCH"

# serve NAME COMMAND…: in the background, in a folder of that name; the command says in the file pid who it is. In a session of its own like
# Postgres, since Linux gives each session its share of a processor. On a busy machine each backend of Postgres has one, so there let all of
# this run in one control group; on an idle one it makes no difference.
serve() {
  local name=$1
  shift
  as_server_user mkdir -p "$SCRATCH/$name"
  # shellcheck disable=SC2016 # for that bash
  as_server_user setsid bash -c 'cd "$1" && echo $$ >pid && shift && exec "$@" >server.log 2>&1' bash "$SCRATCH/$name" "$@" 2>/dev/null &
  until [ -s "$SCRATCH/$name/pid" ]; do sleep 0.1; done
  pids+=("$(cat "$SCRATCH/$name/pid")")
}

# until_there NAME SOCKET
until_there() {
  local tries=0
  until [ -S "$SCRATCH/$1/$2" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 "$(cat "$SCRATCH/$1/pid")" 2>/dev/null; then
      tail -n 20 "$SCRATCH/$1/server.log" >&2
      die "$1 does not serve"
    fi
    sleep 0.1
  done
}

start_server "$SCRATCH/postgres" shared_preload_libraries=advisory_keys autovacuum=off
bin=$("$PG_CONFIG" --bindir)
"$bin/createdb" native
"$bin/createdb" portable
"$bin/psql" -Xq -d native -c 'CREATE EXTENSION advisory_keys'
"$bin/psql" -Xq -d portable -v ON_ERROR_STOP=1 -f sql/portable.sql

# Neither writes to the disk for a lock. Debian's redis-server is this program by another name, in a package that starts a service.
serve redis bash -c 'exec -a redis-server redis-check-rdb --port 0 --unixsocket socket --save "" --appendonly no'
# Without tables of its own, so without passwords; the folder is closed to others.
as_server_user mkdir -p "$SCRATCH/mariadb/data"
serve mariadb mariadbd --no-defaults --datadir="$SCRATCH/mariadb/data" --socket="$SCRATCH/mariadb/socket" --skip-networking --skip-grant-tables
until_there redis socket
until_there mariadb socket
versions=("Postgres $("$bin/postgres" --version | cut -d' ' -f3)" "Redis $(redis-cli --version | cut -d' ' -f2)" "MariaDB $(mariadbd --version | sed 's/.*Ver \([^-]*\).*/\1/')")

# etcd has no package without a service, so it is unpacked; where there is none to be had, it is left out.
etcd=$TOOLS_DIR/etcd
if [ ! -x "$etcd/usr/bin/etcd" ] && apt_offers etcd-server; then
  say "unpacking etcd"
  rm -rf "$etcd.new"
  mkdir -p "$etcd.new"
  (cd "$etcd.new" && quietly etcd apt-get -o APT::Sandbox::User=root download etcd-server && dpkg -x etcd-server_*.deb . && rm etcd-server_*.deb)
  rm -rf "$etcd"
  mv "$etcd.new" "$etcd"
fi
if [ -x "$etcd/usr/bin/etcd" ]; then
  # Its peers find each other by TCP; there are none, and that is the loopback's.
  port=$(free_port)
  serve etcd "$etcd/usr/bin/etcd" --data-dir data --log-level error --listen-client-urls unix://localhost:1 --advertise-client-urls unix://localhost:1 \
    --listen-peer-urls "http://127.0.0.1:$port" --initial-advertise-peer-urls "http://127.0.0.1:$port" --initial-cluster "default=http://127.0.0.1:$port"
  until_there etcd localhost:1
  versions+=("etcd $("$etcd/usr/bin/etcd" --version | sed -n 's/^etcd Version: //p')")
fi
mkdir -p target
arguments=()
for version in "${versions[@]}"; do arguments+=(--version "$version"); done
python3 -B bench/rivals/rivals.py --folder "$SCRATCH" "${arguments[@]}" --output target/bench-rivals.json "$@"
