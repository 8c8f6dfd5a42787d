// What a live handover costs: many idle clients, and some who all talk, through `chatctl reload` after reload.
//
//   cargo build --release --locked && (cd tests/js && npm ci)
//   node bench/handover.mjs               # settings below are variables of the environment: IDLE=1000 node ...
//
// Per handover: for how long nobody was served (by the server's own clock, until the last connection had arrived), the longest
// silence one who is talked to all the time heard, the memory of both processes together against that of the one before,
// and the most heartbeats in a tenth of a second afterwards. At the end: whether memory and descriptors are as at the start,
// whether anybody was disconnected, and whether everything that was said was heard by everybody, once, in one order.
// Whether it stays so: IDLE=2000 ROUNDS=100 REST=500.
import { execFile } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { connect as dial } from "node:net";

process.env.CHATCTL_BIN ??= new URL("../target/release/chatctl", import.meta.url).pathname;
const IDLE = Number(process.env.IDLE ?? 10_000);
const ROOMS = Number(process.env.ROOMS ?? 500);
const BUSY = Number(process.env.BUSY ?? 22);
const ROUNDS = Number(process.env.ROUNDS ?? 10);
/** Milliseconds between two handovers; a heartbeat comes every 25 s. */
const REST = Number(process.env.REST ?? 6000);

const { crowd, judge } = await import("../tests/js/crowd.mjs");
const { program, supervise } = await import("../tests/js/helpers.mjs");

const cleanups = [];
const t = { after: (cleanup) => cleanups.unshift(cleanup) };
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** A client's text frame, with a mask that changes nothing. */
const frame = (text) => Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
const PONG = frame("3");
let closed = 0;
let heartbeats = [];

/** A client that joins a room and from then on answers heartbeats. 10,000 of socket.io-client's would be the load. */
const idle = (port, n) => new Promise((joined, fail) => {
  const socket = dial(port, "127.0.0.1", () => socket.write(
    `GET /socket.io/?EIO=4&transport=websocket&name=n${n}&room=r${n % ROOMS} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n` +
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"));
  const answers = [['0{"sid"', "40"], ["40{", '421["join_room",{"type":1}]'], ["431["]];
  socket.on("data", (data) => {
    const text = data.toString("latin1");
    while (answers.length && text.includes(answers[0][0])) {
      const [, next] = answers.shift();
      if (next) socket.write(frame(next));
      else joined(socket);
    }
    if (text.includes("\x81\x012")) {
      heartbeats.push(performance.now());
      socket.write(PONG);
    }
  });
  socket.on("error", fail);
  socket.on("close", () => (closed += 1));
  t.after(() => socket.removeAllListeners("close").destroy());
});

/** Memory of a process, in MB. */
const resident = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
const descriptors = (pid) => readdirSync(`/proc/${pid}/fd`).length;

/** Memory of all servers of this supervisor, in MB. */
function memory(supervisor) {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, "utf8").trim().split(/\s+/);
  return children.reduce((sum, pid) => {
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[1] !== "serve") return sum;
      return sum + resident(pid);
    } catch {
      return sum; // gone meanwhile
    }
  }, 0);
}

const most = (times, within) => times.reduce((max, from, n) => {
  let end = n;
  while (end < times.length && times[end] - from < within) end += 1;
  return Math.max(max, end - n);
}, 0);
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

let failed = false;
try {
  const limits = "max_connections = 0\nmax_connections_per_address = 0";
  const server = await supervise(t, "web", 'min_uptime = "200ms"\nlisten_timeout = "60s"', `[limits]\n${limits}`);
  const { port } = new URL(server.url);
  for (let n = 0; n < IDLE; n += 200) {
    await Promise.all(Array.from({ length: Math.min(200, IDLE - n) }, (_, more) => idle(port, n + more)));
  }
  const [sockets, record] = await crowd(t, server, undefined, BUSY);
  console.log(`${IDLE} idle clients in ${ROOMS} rooms, ${BUSY} in another who all talk; ${program}`);
  let [last, silence] = [0, 0];
  sockets[0].on("chatting", () => {
    const now = performance.now();
    if (last) silence = Math.max(silence, now - last);
    last = now;
  });
  const all = { pause: [], silence: [], ratio: [], heartbeats: [], after: [], supervisor: [], open: [], held: [] };
  const pids = new Set([(await server.status()).pid]);
  for (let round = 1; round <= ROUNDS; round += 1) {
    await sleep(round === 1 ? 2000 : REST);
    if (round > 1) all.heartbeats.push(most(heartbeats, 100));
    const usual = silence;
    const before = memory(server.child.pid);
    let peak = 0;
    const watch = setInterval(() => (peak = Math.max(peak, memory(server.child.pid))), 20);
    [silence, heartbeats] = [0, []];
    await new Promise((done, fail) => execFile(program, ["reload"], { cwd: server.dir }, (error, _, said) => (error ? fail(new Error(said)) : done())));
    await sleep(300);
    clearInterval(watch);
    const { pid, handover } = await server.status();
    if (pids.has(pid) || handover?.connections !== IDLE + BUSY) throw new Error(`${JSON.stringify(handover)}\n${server.log}`);
    pids.add(pid);
    const after = memory(server.child.pid);
    for (const [name, value] of Object.entries({ pause: handover.pause_ms, silence, ratio: peak / before, after, supervisor: resident(server.child.pid), open: descriptors(pid), held: descriptors(server.child.pid) })) all[name].push(value);
    console.log(`${round}: pause ${handover.pause_ms} ms, silence ${silence.toFixed(0)} ms (before: ${usual.toFixed(0)}), memory ${before.toFixed(0)} -> ${peak.toFixed(0)} -> ${after.toFixed(0)} MB (${(peak / before).toFixed(2)} times), supervisor ${resident(server.child.pid).toFixed(1)} MB, descriptors ${descriptors(pid)} and ${descriptors(server.child.pid)}, closed ${closed}`);
    silence = 0;
  }
  await sleep(REST);
  all.heartbeats.push(most(heartbeats, 100));
  await record.stop();
  const result = judge(sockets, record);
  const line = (name, unit, digits = 0) => `${name}: median ${median(all[name]).toFixed(digits)}${unit}, at most ${Math.max(...all[name]).toFixed(digits)}${unit}`;
  console.log([line("pause", " ms"), line("silence", " ms"), line("ratio", " times the memory", 2), line("heartbeats", " in 100 ms")].join("\n"));
  const ends = (what, name, unit, digits = 0) => `${what} after the first ${all[name][0].toFixed(digits)}${unit}, after the last ${all[name].at(-1).toFixed(digits)}${unit}`;
  console.log([ends("memory", "after", " MB"), ends("the supervisor's", "supervisor", " MB", 1), ends("descriptors", "open", ""), ends("the supervisor's", "held", "")].join("\n"));
  console.log(`closed ${closed}; ${JSON.stringify(result)}`);
  failed = closed + result.disconnects + result.unheard + result.missed + result.twice + result.disordered > 0;
} finally {
  for (const cleanup of cleanups) await cleanup();
}
process.exit(failed ? 1 : 0);
