// What a reload costs under pm2: the same people as in the tests of handovers, on bench/node/server.mjs with connection state
// recovery, through `pm2 reload` after reload.
//
//   (cd tests/js && npm ci) && (cd bench/node && npm ci)
//   node bench/pm2.mjs                    # npx fetches pm2; ROUNDS=100 MODE=fork node ... for more, or pm2's other mode
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { crowd, judge } from "../tests/js/crowd.mjs";
import { CLIENTS, freePort, until } from "../tests/js/helpers.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 10);
const MODE = process.env.MODE ?? "cluster";

const dir = mkdtempSync(join(tmpdir(), "chatctl-pm2-"));
const cleanups = [() => rmSync(dir, { recursive: true, force: true })];
const t = { after: (cleanup) => cleanups.unshift(cleanup) };
const env = { ...process.env, PM2_HOME: join(dir, "home") };
const pm2 = (...args) => promisify(execFile)("npx", ["--yes", "pm2@7", ...args], { cwd: dir, env });

try {
  const port = await freePort();
  const app = {
    name: "chat",
    script: new URL("node/server.mjs", import.meta.url).pathname,
    exec_mode: MODE,
    instances: 1,
    env: { PORT: String(port), RECOVERY: "1" },
  };
  writeFileSync(join(dir, "ecosystem.config.cjs"), `module.exports = ${JSON.stringify({ apps: [app] })};`);
  await pm2("start", "ecosystem.config.cjs");
  t.after(() => pm2("kill"));
  const server = { url: `http://127.0.0.1:${port}` };
  await until("the server", () => fetch(`${server.url}/socket.io/?EIO=4&transport=polling`).then(({ ok }) => ok, () => false));
  const [sockets, record] = await crowd(t, server, CLIENTS[0]);
  for (let round = 0; round < ROUNDS; round += 1) {
    const heard = record.said;
    await until("some talk", () => record.said > heard + 100);
    await pm2("reload", "chat");
    await until("everybody", () => record.disconnects >= sockets.length * (round + 1) && sockets.every(({ connected }) => connected));
  }
  await record.stop();
  const { disconnects, notRecovered, unheard } = judge(sockets, record);
  console.log(`${ROUNDS} times pm2 reload (${MODE}) with ${sockets.length} people: ${disconnects} disconnects, of whom ${notRecovered} did not recover; ${unheard} messages that nobody heard`);
} finally {
  for (const cleanup of cleanups) await cleanup();
}
process.exit(0);
