import asyncio

import asyncpg

from scene import CONNECTION, PARTS, answer, check, held, is_free

loop = asyncio.new_event_loop()


async def open_pool():
    return await asyncpg.create_pool(min_size=1, max_size=1, **CONNECTION)


pool = loop.run_until_complete(open_pool())


def execute(statement, **options):
    return loop.run_until_complete(pool.fetchval(statement, PARTS, **options))


facts = check(
    version=asyncpg.__version__,
    names={"pool": pool},
    refuse=lambda: execute("SELECT lock_keys($1, timeout => '0')"),
    lock=lambda: execute("SELECT lock_keys($1, session => true)"),
    unlock=lambda: None,
    run=lambda scope: loop.run_until_complete(scope["report_once"]()),
)

# Its timeout cancels the statement in the server.
with held():
    try:
        execute("SELECT lock_keys($1, session => true)", timeout=0.2)
        raise AssertionError("it did not fail")
    except TimeoutError:
        pass
    # Not before it has told the server.
    assert execute("SELECT holds_keys($1)") is False
assert is_free()

# Types are not guessed: an interval is a timedelta.
try:
    loop.run_until_complete(pool.fetchval("SELECT try_lock_keys($1, timeout => $2)", PARTS, "5s"))
    raise AssertionError("it did not fail")
except asyncpg.DataError:
    pass
loop.run_until_complete(pool.close())
answer(facts)
