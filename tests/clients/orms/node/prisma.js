// Its client has to be generated first.
import assert from "node:assert";
import { PrismaPg } from "@prisma/adapter-pg";
import client from "@prisma/client";
import { PARTS, check, connection, errorOf, hold, isFree, release, sleep, until, versionOf } from "./scene.js";

const prisma = new client.PrismaClient({ adapter: new PrismaPg({ ...connection, max: 1 }) });

await check({
  version: versionOf("@prisma/client"),
  names: { prisma },
  refuse: () => prisma.$executeRaw`SELECT lock_keys(${PARTS}, timeout => '0')`,
  lock: () => prisma.$executeRaw`SELECT lock_keys(${PARTS}, session => true)`,
  unlock: () => prisma.$queryRaw`SELECT release_keys(${PARTS})`,
  more: async () => {
    // A result of type void.
    const error = await errorOf(prisma.$queryRaw`SELECT lock_keys(${PARTS})`);
    assert.match(error.message, /Failed to deserialize column of type 'void'/);
    await prisma.$executeRaw`CALL acquire_keys(${PARTS})`;

    // The transaction's own timeout: what runs in it goes on when the lock is gone,
    const late = await errorOf(prisma.$transaction(async (tx) => {
      await tx.$executeRaw`SELECT lock_keys(${PARTS})`;
      await until(isFree, "the transaction is rolled back");
      await tx.$executeRaw`SELECT 1`;
    }, { timeout: 200 }));
    assert.equal(late.code, "P2028");
    // and a wait for a lock goes on too.
    await hold();
    const waiting = errorOf(prisma.$transaction((tx) => tx.$executeRaw`SELECT lock_keys(${PARTS})`, { timeout: 200 }));
    assert.equal(await Promise.race([waiting, sleep(1000)]), undefined);
    await release();
    assert.equal((await waiting).code, "P2028");
    assert(await isFree());
  },
  end: () => prisma.$disconnect(),
});
