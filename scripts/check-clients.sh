#!/usr/bin/env bash
# Runs the client programs of tests/clients, with the drivers, ORMs and pools that people use, against a throwaway server;
# with PG_RUNNING=1 against one that runs already and has the extension to create: that of PGHOST (the folder
# of its socket), PGPORT, PGUSER and PGDATABASE, which has to listen on 127.0.0.1 too.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh

need_rust
if [ -z "${PG_RUNNING:-}" ]; then need_postgres "${PG:-$(default_major)}"; fi
need_packages golang-go golang-github-lib-pq-dev golang-github-jackc-pgx-v4-dev default-jdk-headless libpostgresql-jdbc-java \
  ruby ruby-pg ruby-activerecord ruby-sequel php-cli php-pgsql libdbi-perl libdbd-pg-perl libpq-dev libssl-dev gcc
command -v npm >/dev/null || need_packages nodejs npm
need_python_packages tests/clients/python/requirements.txt

build=$PROJECT/target/clients
clients=$PROJECT/tests/clients
mkdir -p "$build"
say "building the client programs"
for programs in node orms/node; do
  if ! cmp -s "$clients/$programs/package-lock.json" "$build/$programs/installed.json"; then
    rm -rf "${build:?}/$programs"
    mkdir -p "$build/$programs"
    cp "$clients/$programs"/package*.json "$build/$programs/"
    # Exactly what the lock file names, by its hashes; and nothing of it runs meanwhile.
    (cd "$build/$programs" && quietly npm npm ci --ignore-scripts --no-audit --no-fund)
    cp "$clients/$programs/package-lock.json" "$build/$programs/installed.json"
  fi
  cp "$clients/$programs"/*.js "$build/$programs/"
done
orms=$build/orms/node
prisma=
# It needs no other program of Prisma's, and is not to download one.
if node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)'; then
  cp "$clients/orms/node/schema.prisma" "$orms/"
  (cd "$orms" && quietly prisma env CHECKPOINT_DISABLE=1 PRISMA_SCHEMA_ENGINE_BINARY=/bin/true node node_modules/prisma/build/index.js generate)
  prisma="node $orms/prisma.js"
else
  say "Prisma wants Node.js 20.19, and this is $(node --version): skipped"
fi
for driver in pq pgx; do
  (cd "$clients/go" && GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$build/go-cache \
    quietly "go-$driver" go build -o "$build/go-$driver" protocol.go "${driver}_client.go")
done
quietly java javac -cp /usr/share/java/postgresql.jar -d "$build/java" "$clients/java/Client.java"
quietly c gcc -O2 -Wall -Werror -o "$build/c-client" -I"$(pg_config --includedir)" "$clients/c/client.c" -lpq -lcrypto
quietly rust "$CARGO" build --locked --manifest-path "$clients/rust/Cargo.toml" --target-dir "$build/rust"

if [ -z "${PG_RUNNING:-}" ]; then
  say "building the extension"
  quietly clients-build build_extension
  install_extension
  make_scratch clients
  # JDBC knows no Unix sockets.
  port=$(free_port)
  start_server "$SCRATCH/server" listen_addresses=127.0.0.1 "port=$port"
  export PGPORT=$port
  PATH=$("$PG_CONFIG" --bindir):$PATH
  # Others on this machine reach that port too.
  PGPASSWORD=$(head -c 24 /dev/urandom | base64)
  export PGPASSWORD
  psql -Xq <<<"ALTER ROLE postgres PASSWORD '$PGPASSWORD'"
fi
export PGHOSTADDR=127.0.0.1
GO_PQ_VERSION=$(dpkg-query -W -f '${Version}' golang-github-lib-pq-dev)
GO_PGX_VERSION=$(dpkg-query -W -f '${Version}' golang-github-jackc-pgx-v4-dev)
export GO_PQ_VERSION GO_PGX_VERSION
psql -Xqc 'SET client_min_messages = warning' -c 'CREATE EXTENSION IF NOT EXISTS advisory_keys'

"$PYTHON" "$clients/matrix.py" \
  "psycopg=$PYTHON $clients/python/psycopg_client.py" \
  "asyncpg=$PYTHON $clients/python/asyncpg_client.py" \
  "sqlalchemy=$PYTHON $clients/python/sqlalchemy_client.py" \
  "node-pg=node $build/node/pg_client.js" \
  "node-postgres=node $build/node/postgres_client.js" \
  "go-pq=env -u PGHOSTADDR $build/go-pq" \
  "go-pgx=env -u PGHOSTADDR $build/go-pgx" \
  "java=java -cp $build/java:/usr/share/java/postgresql.jar Client" \
  "ruby=ruby $clients/ruby/client.rb" \
  "php=php $clients/php/client.php" \
  "perl=perl $clients/perl/client.pl" \
  "tokio-postgres=$build/rust/debug/tokio_postgres_client" \
  "sqlx=$build/rust/debug/sqlx_client" \
  "libpq=$build/c-client" \
  "psql=$clients/psql/client.sh"

say "ORMs and pools"
"$PYTHON" -B "$clients/orms/check.py" \
  "SQLAlchemy=$PYTHON -B $clients/orms/python/sqlalchemy_orm.py" \
  "Django=$PYTHON -B $clients/orms/python/django_orm.py" \
  "psycopg_pool=$PYTHON -B $clients/orms/python/psycopg_pool_.py" \
  "asyncpg=$PYTHON -B $clients/orms/python/asyncpg_pool.py" \
  "ActiveRecord=ruby $clients/orms/ruby/activerecord.rb" \
  "Sequel=ruby $clients/orms/ruby/sequel.rb" \
  "node-postgres=node $orms/pg_pool.js" \
  "Prisma=$prisma" \
  "Sequelize=node $orms/sequelize.js" \
  "TypeORM=node $orms/typeorm.js" \
  "Knex=node $orms/knex.js" \
  "Drizzle=node $orms/drizzle.js" \
  "Kysely=node $orms/kysely.js" \
  "pg-promise=node $orms/pg_promise.js"
