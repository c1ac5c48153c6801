# As for any extension: make, make install, make uninstall, make installcheck, with PG_CONFIG=… to choose a Postgres. These only do what their
# names say; make install takes DESTDIR=…, make takes CARGO=… and CARGO_FLAGS=--offline.
# make setup brings what is missing on this machine, make setup-check what the checks need besides; PG=15 … 19 chooses a Postgres.
# All other targets bring what they need; make check SUITES="rust sql" runs some of the suites, see scripts/check.sh.

all:
	@scripts/build.sh

install:
	@scripts/install.sh

uninstall:
	@scripts/install.sh uninstall

installcheck:
	@scripts/installcheck.sh

setup:
	@scripts/setup.sh

setup-check:
	@scripts/setup.sh check

check: setup-check
	@scripts/check.sh

demo: setup
	@scripts/demo.sh

demo-stop:
	@scripts/demo.sh stop

schema:
	@scripts/schema.sh

check-clients:
	@scripts/check-clients.sh

check-citus:
	@scripts/check-citus.sh

check-upgrades:
	@scripts/check-upgrades.sh

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

bench-rivals:
	@scripts/bench-rivals.sh

bench-waits:
	@scripts/bench-waits.sh

package:
	@scripts/package.sh

package-check:
	@scripts/package-check.sh

clean:
	rm -rf "$${CARGO_TARGET_DIR:-target}"

# Each does one thing after the other; make all install with -j would install what was there before.
.NOTPARALLEL:

.PHONY: all install uninstall installcheck setup setup-check check demo demo-stop schema check-clients check-citus check-upgrades torture mutants picture miri fuzz bench bench-rivals bench-waits package package-check clean
