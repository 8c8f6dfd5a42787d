// By how much a flooder slows down the others: the 99th percentile of how late honest messages arrive, with one beside
// them and without, in turns.
//
// Honest people speak by the clock, whatever is answered (an open loop), and a message is as late as it is after the
// moment at which it was to be said. Flooders write as fast as they are read. The server has a core of its own, the
// clients share another, and there the flooders have what the honest ones leave: what is measured is the server.
//
// Usage: node bench/flooder.mjs PROGRAM [key=value ...], keys and defaults as in `settings`. Needs root, and two cores.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const settings = {
  rooms: 4, // with so many people each,
  people: 10, // of whom each says
  rate: 10, // messages a second
  flooders: 1, // beside them
  flood: "own", // "own": in a room of their own; "same": in the first of the others'; "again": the same, and with a new connection every second
  warm: 4, // seconds before a round, in which a flooder uses up the burst it is allowed
  seconds: 8, // a round
  pairs: 10, // rounds with and without
  limits: "exempt = []", // lines of [limits], by semicolons; the flooder's address is its own
};

const KEY = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
const sleep = (ms) => new Promise((later) => setTimeout(later, ms));

/** A text frame, under a mask that changes nothing. */
function frame(text) {
  const payload = Buffer.from(text);
  const head = payload.length < 126 ? [0x81, 0x80 | payload.length] : [0x81, 0x80 | 126, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]);
}

/** A client in a room; what it hears goes to `hear`. */
function join_room(port, name, room, hear) {
  return new Promise((joined, fail) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`GET /socket.io/?EIO=4&transport=websocket&name=${name}&room=${room} HTTP/1.1\r\nhost: x\r\n${KEY}\r\n`));
    socket.setNoDelay(true).on("error", fail);
    let rest = Buffer.alloc(0);
    let open = false;
    socket.on("data", (bytes) => {
      rest = rest.length ? Buffer.concat([rest, bytes]) : bytes;
      if (!open) {
        const end = rest.indexOf("\r\n\r\n");
        if (end < 0) return;
        open = true;
        rest = rest.subarray(end + 4);
      }
      while (rest.length >= 2) {
        const [head, size] = rest[1] < 126 ? [2, rest[1]] : rest.length >= 4 ? [4, rest.readUInt16BE(2)] : [Infinity, 0];
        if (rest.length < head + size) break;
        const packet = rest.latin1Slice(head, head + size);
        rest = rest.subarray(head + size);
        if (packet === "2") socket.write(frame("3"));
        else if (packet.startsWith("0{")) socket.write(frame("40"));
        else if (packet.startsWith("40{")) socket.write(frame('420["join_room",{"type":1}]'));
        else if (packet.startsWith("430[")) joined(socket);
        else hear(packet);
      }
    });
  });
}

/** Writes as fast as it is read, until it is stopped. */
async function flood(port) {
  const some = Buffer.concat(Array.from({ length: 200 }, () => frame(`42["chatting","${"flood ".repeat(8)}"]`)));
  for (;;) {
    const socket = await join_room(port, "flooder", settings.flood === "own" ? "flood" : "room0", () => {});
    const pour = () => { while (!socket.destroyed && socket.write(some)); };
    socket.on("drain", pour).on("close", () => process.exit(1));
    pour();
    if (settings.flood !== "again") return;
    await sleep(1000);
    socket.removeAllListeners("close").destroy();
  }
}

/** What honest people measure in one round: how late each message came, in milliseconds. */
async function round(people) {
  const late = [];
  const end = performance.now() + settings.seconds * 1000;
  const between = 1000 / settings.rate;
  people.hear = (packet) => {
    if (packet.includes("flood flood")) people.flooded += 1;
    const said = /"msg":"at ([\d.]+)"/.exec(packet);
    if (said) late.push(performance.now() - Number(said[1]));
  };
  await Promise.all(people.map(async (socket, n) => {
    for (let at = performance.now() + (between * n) / people.length; at < end; at += between) {
      await sleep(Math.max(0, Math.ceil(at - performance.now()))); // Timers know whole milliseconds.
      socket.write(frame(`42["chatting","at ${at}"]`));
    }
  }));
  await sleep(500);
  people.hear = () => {};
  return late.sort((a, b) => a - b);
}

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
const median = (numbers) => at(numbers.toSorted((a, b) => a - b), 0.5);

async function compare(program) {
  execFileSync("taskset", ["-apc", "1", String(process.pid)]);
  execFileSync("chrt", ["-afp", "10", String(process.pid)]);
  const dir = mkdtempSync(join(tmpdir(), "chatctl-flooder-"));
  writeFileSync(join(dir, "chat.toml"), `state_dir = "state"\n[[app]]\nname = "a"\nprofile = "local"\nlisten = "127.0.0.1:0"\n[limits]\n${settings.limits.replaceAll(";", "\n")}\n`);
  const server = spawn("chrt", ["-o", "0", "taskset", "-c", "0", program, "serve"], { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
  const port = await new Promise((found) => server.stderr.on("data", (text) => {
    const listening = /listening on http:\/\/[^\s:]+:(\d+)/.exec(String(text));
    if (listening) found(Number(listening[1]));
  }));
  const people = [];
  people.hear = () => {};
  people.flooded = 0;
  for (let n = 0; n < settings.rooms * settings.people; n += 1) {
    people.push(await join_room(port, `n${n}`, `room${n % settings.rooms}`, (packet) => people.hear(packet)));
  }
  await round(people);
  const rounds = { without: [], with: [] };
  for (let pair = 0; pair < settings.pairs; pair += 1) {
    // Which comes first alternates, so that what drifts is nobody's fault.
    for (const kind of pair % 2 ? ["with", "without"] : ["without", "with"]) {
      const options = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
      const flooders = Array.from({ length: kind === "with" ? settings.flooders : 0 }, () =>
        spawn("chrt", ["-o", "0", "nice", "-n", "19", process.execPath, import.meta.filename, `port=${port}`, ...options], { stdio: "inherit" }));
      await sleep(settings.warm * 1000);
      rounds[kind].push(await round(people));
      flooders.forEach((flooder) => flooder.kill());
      await sleep(500);
    }
  }
  const all = Object.fromEntries(Object.entries(rounds).map(([kind, some]) => [kind, Float64Array.from(some.flat()).sort()]));
  for (const share of [0.5, 0.9, 0.99, 0.999]) {
    const [without, beside] = [at(all.without, share), at(all.with, share)];
    const each = rounds.with.map((late, pair) => (at(late, share) / at(rounds.without[pair], share) - 1) * 100);
    console.log(`p${share * 100}: ${without.toFixed(3)} ms, beside a flooder ${beside.toFixed(3)} ms: moved by ${((beside / without - 1) * 100).toFixed(1)} %; pair by pair by ${each.map((by) => by.toFixed(0)).join(" ")}, median ${median(each).toFixed(1)} %`);
  }
  if (settings.flood !== "own") console.log(`of the flood ${(people.flooded / settings.people / settings.pairs / settings.seconds).toFixed(1)} messages a second were taken`);
  people.forEach((socket) => socket.destroy());
  server.kill();
  await new Promise((end) => server.on("exit", end));
  rmSync(dir, { recursive: true });
  process.exit();
}

const [program, ...given] = process.argv.slice(2);
for (const option of [program, ...given].filter((option) => option?.includes("="))) {
  const [key, ...value] = option.split("=");
  settings[key] = typeof settings[key] === "number" ? Number(value.join("=")) : value.join("=");
}
if (settings.port) await flood(Number(settings.port));
else if (program) await compare(program);
else console.error("Usage: node bench/flooder.mjs PROGRAM [key=value ...]");
