# make, make install, make installcheck: as for any extension, with PG_CONFIG=… to choose a Postgres.
# make demo, make check, make check-clients, make check-upgrades, make torture, make mutants, make picture, make miri, make fuzz, make bench: set up what is missing by themselves; PG=15 … 19 chooses one.
# make check SUITES="rust sql": some of the suites, see scripts/check.sh.

PG_CONFIG ?= pg_config
PG ?=
export PG

all:
	@PG_CONFIG='$(PG_CONFIG)' scripts/build.sh

install:
	@PG_CONFIG='$(PG_CONFIG)' scripts/build.sh install

installcheck:
	@PG_CONFIG='$(PG_CONFIG)' scripts/installcheck.sh

check:
	@scripts/check.sh

check-clients:
	@scripts/check-clients.sh

check-upgrades:
	@scripts/check-upgrades.sh

demo:
	@scripts/demo.sh

demo-stop:
	@scripts/demo.sh stop

torture:
	@scripts/torture.sh

mutants:
	@scripts/mutants.sh

picture:
	@scripts/picture.sh

miri:
	@scripts/miri.sh

fuzz:
	@scripts/fuzz.sh

bench:
	@scripts/bench.sh

clean:
	cargo clean

.PHONY: all install installcheck check check-clients check-upgrades torture mutants picture miri fuzz demo demo-stop bench clean
