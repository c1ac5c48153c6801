// The protocol of the client programs, for those in Node.js: see ../README.md.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";

export function ownKey(parts) {
  return createHash("sha256").update(parts.join("-"), "utf8").digest().readBigInt64BE();
}

export async function serve(client) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...words] = line.split(" ");
    const milliseconds = command === "wait" ? Number(words.shift()) : 0;
    const parts = words.map((word) => (word === "-" ? "" : Buffer.from(word, "hex").toString("utf8")));
    console.log(String(command === "wait" ? await client.wait(milliseconds, parts) : await client[command](parts)));
  }
  process.exit();
}
