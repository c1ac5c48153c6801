// The protocol of the client programs, for those in Node.js: see ../README.md.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";

export function ownKey(parts) {
  return createHash("sha256").update(parts.join("-"), "utf8").digest().readBigInt64BE();
}

// The commands with a number before the parts.
const numbered = ["wait", "slot", "claim"];

export async function serve(client) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...words] = line.split(" ");
    const number = numbered.includes(command) ? [Number(words.shift())] : [];
    const parts = words.map((word) => (word === "-" ? "" : Buffer.from(word, "hex").toString("utf8")));
    console.log(String(await client[command](...number, parts)));
  }
  process.exit();
}
