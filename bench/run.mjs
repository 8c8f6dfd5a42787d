#!/usr/bin/env node
// Measures chatctl and a lean Socket.IO server on Node in turn, and writes bench/RESULTS.md with its curves.
//
//   cargo build --release && (cd bench/node && npm ci) && node bench/run.mjs
//
// The server is pinned on core 0 and the generator (`chatctl bench`) on core 1; every measurement has a server of its own.
// Rounds are interleaved: all servers once, then all again. Nothing else should run: a prefix for each measurement, as a
// command that waits until the machine is quiet, is BENCH_PREFIX; BENCH_BATCH=200 lets it wait for about 200 s of them.
//
//   --rounds 3 --seconds 5      how often, and for how long
//   --only 1,000x20 --only idle only what is called so, or begins with that word
//   --servers chatctl,node      of: chatctl, node, node-recovery
//   --bin target/release/chatctl --generator target/release/chatctl
//   --resume                    go on with what target/bench/results.jsonl has
//   --page                      measure nothing, write the page anew
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writePage } from "./page.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    only: { type: "string", multiple: true, default: [] },
    servers: { type: "string", default: "chatctl,node,node-recovery" },
    bin: { type: "string", default: join(here, "../target/release/chatctl") },
    generator: { type: "string" },
    resume: { type: "boolean", default: false },
    page: { type: "boolean", default: false },
    batch: { type: "string" }, // what this program starts itself with
  },
});
const program = resolve(options.bin);
const generator = resolve(options.generator ?? options.bin);
const folder = resolve(here, "../target/bench");
const results = join(folder, "results.jsonl");
const seconds = Number(options.seconds);
/** How many files, and so connections, a process may have. */
const files = Number(execFileSync("sh", ["-c", "ulimit -Hn"], { encoding: "utf8" }).replace("unlimited", "Infinity"));

/** What the sources are that it is called from; none where that is no clone. */
const revision = spawnSync("git", ["-C", here, "rev-parse", "--short", "HEAD"], { encoding: "utf8" }).stdout?.trim() ?? "";

/** Everything that is measured: a name, what the generator is told, about how many s it takes, and which servers. */
function measurements() {
  const all = ["chatctl", "node", "node-recovery"];
  const window = ["--duration", `${seconds}s`, "--warmup", "1s"];
  const fanout = (name, clients, rooms, more = [], of = all) =>
    ({ name, of, takes: seconds + 3 + clients / 1500, args: ["fanout", "--clients", clients, "--rooms", rooms, ...window, ...more] });
  const idle = (name, clients, of = all) =>
    ({ name, of, takes: 12 + clients / 1500, args: ["idle", "--clients", clients, "--duration", "5s", "--after", "5s"] });
  const pair = ["chatctl", "node"];
  return [
    fanout("100x1", 100, 1),
    fanout("1,000x1", 1000, 1),
    fanout("1,000x20", 1000, 20),
    fanout("5,000x100", 5000, 100),
    // Few messages: for longer, so that 1 % of them is more than one.
    { ...fanout("low load", 100, 1), takes: 16, args: ["fanout", "--clients", 100, "--rate", 10, "--duration", "12s", "--warmup", "1s"] },
    idle("idle 10,000", 10_000),
    { name: "churn", of: all, takes: seconds + 3, args: ["churn", ...window] },
    fanout("1,000x20 by polling", 1000, 20, ["--transport", "polling"], pair),
    { ...fanout("1,000x20 by TLS", 1000, 20, [], pair), tls: true },
    { name: "churn by TLS", of: pair, takes: seconds + 3, tls: true, args: ["churn", ...window] },
    { name: "storm 5,000", of: all, takes: 12, args: ["storm", "--clients", 5000] },
    { name: "jitter", of: all, takes: 30, args: ["jitter", "--clients", 100, "--rate", 50, "--duration", "20s"] },
    ...[100, 300, 1000, 3000, 10_000, Math.min(20_000, files - 100)].flatMap((clients) => [
      fanout(`growth clients ${clients}`, clients, Math.ceil(clients / 50), [], pair),
      idle(`growth idle ${clients}`, clients, pair),
    ]),
    // The same people in more and more, smaller and smaller rooms.
    ...[1, 10, 100, 1000, 5000].map((rooms) =>
      fanout(`growth rooms ${rooms}`, 5000, rooms, ["--senders", Math.min(10 * rooms, 5000)], pair)),
    // One server for all: its journal goes from empty to full.
    { name: "growth journal", of: ["chatctl"], takes: 50, windows: 16, args: ["fanout", "--clients", 100, "--rooms", 20, "--senders", 100, "--duration", "1s", "--warmup", "0s"] },
  ];
}

/** A certificate that nobody vouches for, and its key. */
function certificate(home) {
  const [cert, key] = ["cert.pem", "key.pem"].map((name) => join(home, name));
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
  execFileSync("openssl", [...made, "-out", cert, "-keyout", key], { stdio: "ignore" });
  return { cert, key };
}

/** Starts a server, and gives its process and URL when it listens. */
async function serve(kind, tls) {
  const home = mkdtempSync(join(tmpdir(), "chatctl-bench-"));
  const { cert, key } = tls ? certificate(home) : {};
  // No limits: the closed loop is to find out what the server can do.
  writeFileSync(join(home, "chat.toml"), `state_dir = "state"
[[app]]
name = "bench"
profile = "web"
listen = "127.0.0.1:0"
${tls ? `tls = { cert = "${cert}", key = "${key}" }` : ""}
[limits]
messages_per_second = 0
room_messages_per_second = 0
`);
  const [command, env] = kind === "chatctl"
    // As `chatctl supervise` starts it (src/heap.rs).
    ? [[program, "serve"], { GLIBC_TUNABLES: "glibc.malloc.tcache_count=0" }]
    : [["node", join(here, "node/server.mjs")], { PROFILE: "web", RECOVERY: kind === "node-recovery" ? "1" : "", ...(tls && { CERT: cert, KEY: key }) }];
  const child = spawn("taskset", ["-c", "0", ...command], { cwd: home, env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((end) => child.on("exit", end));
  const stop = async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(home, { recursive: true, force: true });
  };
  let log = "";
  const url = await new Promise((listens, fails) => {
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
      const found = /listening on (https?:[^\s"]+)/.exec(log)?.[1];
      if (found) listens(found);
    });
    ended.then(() => fails(new Error(`${kind} did not start: ${log}`)));
  });
  return { pid: child.pid, url, stop };
}

/** One report of the generator. */
async function measure({ pid, url }, [scenario, ...args]) {
  const command = ["-c", String(Math.min(1, cpus().length - 1)), generator, "bench", scenario, url, "--profile", "web", "--pid", pid, "--json", ...args].map(String);
  const child = spawn("taskset", command, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part) => (text += part));
  await new Promise((end) => child.on("close", end));
  if (!text) throw new Error(`no report of ${command.join(" ")}`);
  return JSON.parse(text);
}

/** Measures these one after the other, each with a server of its own. */
async function batch(jobs) {
  for (const { name, server: kind, round } of jobs) {
    const { args, tls, windows = 1 } = measurements().find((measurement) => measurement.name === name);
    const server = await serve(kind, tls);
    try {
      for (let window = 0; window < windows; window += 1) {
        const report = await measure(server, args);
        appendFileSync(results, `${JSON.stringify({ name, server: kind, round, window, revision, report })}\n`);
        console.error(`${name}, ${kind}, round ${round}: ${said(report)}`);
      }
    } finally {
      await server.stop();
    }
  }
}

function said({ latency_us, server, generator, troubles }) {
  const figures = {
    "deliveries per CPU-second": server.deliveries_per_cpu_s?.toFixed(0),
    "handshakes per CPU-second": server.handshakes_per_cpu_s?.toFixed(0),
    "KB a connection": server.bytes_per_connection && (server.bytes_per_connection / 1024).toFixed(1),
    "p99 ms": latency_us && (latency_us.p99 / 1000).toFixed(1),
    "server's core": server.cores.toFixed(2),
    "generator's": generator.cores.toFixed(2),
  };
  const some = Object.entries(figures).filter(([, figure]) => figure).map(([what, figure]) => `${figure} ${what}`);
  return [...some, ...Object.keys(troubles).map((trouble) => `! ${trouble}`)].join(", ");
}

const recorded = () =>
  existsSync(results) ? readFileSync(results, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line)) : [];

/** What is still to be measured, round by round. */
function wanted() {
  const done = new Set(recorded().map(({ name, server, round }) => `${name} ${server} ${round}`));
  const { only } = options;
  const servers = options.servers.split(",");
  const jobs = [];
  for (let round = 1; round <= Number(options.rounds); round += 1) {
    for (const { name, of, takes } of measurements()) {
      // A curve has many points: once is enough for each.
      if ((only.length > 0 && !only.some((wanted) => `${name} `.startsWith(`${wanted} `))) || (name.startsWith("growth") && round > 1)) continue;
      for (const server of of.filter((server) => servers.includes(server))) {
        if (!done.has(`${name} ${server} ${round}`)) jobs.push({ name, server, round, takes });
      }
    }
  }
  return jobs;
}

mkdirSync(folder, { recursive: true });
if (options.batch) {
  await batch(JSON.parse(options.batch));
} else {
  if (!options.resume && !options.page) rmSync(results, { force: true });
  const jobs = options.page ? [] : wanted();
  const [first, ...rest] = [...(process.env.BENCH_PREFIX ?? "").split(" ").filter(Boolean), process.execPath, fileURLToPath(import.meta.url)];
  while (jobs.length > 0) {
    const some = [jobs.shift()];
    const time = () => some.reduce((sum, { takes }) => sum + takes, 0);
    while (jobs.length > 0 && time() + jobs[0].takes <= Number(process.env.BENCH_BATCH ?? 0)) some.push(jobs.shift());
    const again = ["--bin", program, "--generator", generator, "--seconds", options.seconds, "--batch", JSON.stringify(some)];
    try {
      execFileSync(first, [...rest, ...again], { stdio: "inherit" });
    } catch (error) {
      console.error(`${some.map(({ name, server }) => `${name} of ${server}`).join(", ")}: ${error.message}`);
      process.exitCode = 1;
    }
  }
  writePage(here, recorded(), program);
}
