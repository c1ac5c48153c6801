"""Copies of Postgres, into which the tests put a released version, and the present one over it. Every test has a server of its own."""

import os
import pathlib
import sys
import tempfile

import pytest

# What they share with the live tests.
sys.path.append(str(pathlib.Path(__file__).parents[1] / "live"))

from installation import Installation  # noqa: E402
from scene import connections  # noqa: E402
from server import Server  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--released", action="append", default=[], metavar="VERSION=FOLDER", help="a released version's files for PG_CONFIG")
    parser.addoption("--present", help="the folder of the present version's files for PG_CONFIG")
    parser.addoption("--to", metavar="PG_CONFIG", help="of the newer Postgres that pg_upgrade goes to")
    parser.addoption("--to-present", help="the folder of the present version's files for that")


def pytest_generate_tests(metafunc):
    released = dict(option.split("=", 1) for option in metafunc.config.getoption("released"))
    if "released" in metafunc.fixturenames:
        metafunc.parametrize("released", released.items(), ids=released.keys(), scope="session")
    # Of what is installed when pg_upgrade comes.
    if "before" in metafunc.fixturenames:
        before = {**released, "present": metafunc.config.getoption("present")}
        metafunc.parametrize("before", before.values(), ids=before.keys(), scope="session")


def copy_of(pg_config):
    with tempfile.TemporaryDirectory(prefix="advisory_keys-upgrade.") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield Installation(pg_config, folder)


@pytest.fixture(scope="session")
def installation():
    yield from copy_of(os.environ["PG_CONFIG"])


@pytest.fixture(scope="session")
def newer(request):
    """Of the newer Postgres, with the present version."""
    for newer in copy_of(request.config.getoption("to")):
        newer.put(request.config.getoption("to_present"))
        yield newer


@pytest.fixture(params=[False, True], ids=["on demand", "preloaded"])
def preloaded(request):
    return request.param


@pytest.fixture
def start(preloaded):
    """A factory of servers, which preload the library or do not."""
    servers = []

    def start_one(installation, **options):
        if preloaded:
            options["shared_preload_libraries"] = "advisory_keys"
        servers.append(Server(bindir=installation.bindir, max_prepared_transactions=10, **options))
        return servers[-1]

    yield start_one
    for server in servers:
        server.remove()


@pytest.fixture
def server(installation, released, start):
    """A server with a released version, whose files are the only ones there."""
    installation.clear()
    installation.put(released[1])
    return start(installation)


@pytest.fixture
def connect(server):
    """A factory of connections to it, all closed when the test ends."""
    with connections(server.connect) as connect:
        yield connect


@pytest.fixture
def put_present(installation, request):
    """Puts the present version in place of the released one, and nothing else."""
    return lambda: installation.put(request.config.getoption("present"))
