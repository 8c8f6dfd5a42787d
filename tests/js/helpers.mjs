// The real program, and real clients of both generations.
import { spawn, execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { io as v4 } from "socket.io-client";
import v2 from "socket.io-client-2";

export const program = process.env.CHATCTL_BIN ?? new URL("../../target/debug/chatctl", import.meta.url).pathname;
/** Nothing here takes longer, on the slowest machine. */
export const DEADLINE = 120_000;

/** Every way in: both generations of clients, every order of transports. */
export const CLIENTS = [["4.8", v4], ["2.5", v2]].flatMap(([version, library]) =>
  [["websocket"], ["polling"], ["polling", "websocket"]].map((transports) => ({
    label: `${version} ${transports.join("+")}`,
    library,
    transports,
  })));

export const [FIRST] = CLIENTS;

/** Waits for `promise`, but not for ever. */
export async function soon(what, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited in vain for ${what}`)), DEADLINE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits until `ready` gives something. */
export async function until(what, ready) {
  const end = Date.now() + DEADLINE;
  while (Date.now() < end) {
    const value = await ready();
    if (value) return value;
    await new Promise((next) => setTimeout(next, 10));
  }
  throw new Error(`waited in vain for ${what}`);
}

/** By folder, what ends the processes that run in it. */
const ends = new Map();

async function folder(t, toml) {
  const dir = await mkdtemp(join(tmpdir(), "chatctl-"));
  ends.set(dir, []);
  t.after(async () => {
    // While somebody still writes there it cannot be removed; and who runs on would keep the tests from ending.
    for (const end of ends.get(dir)) await end();
    await rm(dir, { recursive: true, force: true });
  });
  await writeFile(join(dir, "chat.toml"), toml);
  return dir;
}

export function run(t, dir, args, what = program) {
  const child = spawn(what, args, { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
  const server = { child, dir, log: "", ended: new Promise((end) => child.on("exit", (code, signal) => end({ code, signal }))) };
  child.stderr.setEncoding("utf8").on("data", (text) => (server.log += text));
  const end = async () => {
    child.kill("SIGTERM");
    const killer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await server.ended;
    clearTimeout(killer);
  };
  const folderOf = [...ends.keys()].find((folder) => dir.startsWith(folder));
  if (folderOf) ends.get(folderOf).push(end);
  else t.after(end);
  return server;
}

/** A chat server for the life of a test; `extra` is more chat.toml. */
export async function serve(t, profile = "local", extra = "") {
  const dir = await folder(t, `state_dir = "state"\n[[app]]\nname = "a"\nprofile = "${profile}"\nlisten = "127.0.0.1:0"\n${extra}`);
  const server = run(t, dir, ["serve"]);
  server.url = await until("the server to listen", () => {
    if (server.child.exitCode !== null) throw new Error(server.log);
    return /listening on (https?:[^\s"]+)/.exec(server.log)?.[1];
  });
  server.port = new URL(server.url).port;
  return server;
}

/** A supervisor with one app; waits until it is online. */
export async function supervise(t, profile = "local", keys = "", extra = "") {
  const port = await freePort();
  const dir = await folder(t, `state_dir = "state"\n[[app]]\nname = "chatting"\nprofile = "${profile}"\nlisten = "127.0.0.1:${port}"\n${keys}\n${extra}`);
  const server = run(t, dir, ["supervise"]);
  server.url = `http://127.0.0.1:${port}`;
  server.status = async () => {
    // Exit code 1: something is not healthy just now; it is printed all the same.
    const { stdout } = await promisify(execFile)(program, ["status", "--json"], { cwd: dir }).catch((error) => error);
    return stdout ? JSON.parse(stdout).apps[0] : undefined;
  };
  await until("the app to be online", async () => (await server.status())?.state === "online");
  return server;
}

/** The same, with a certificate of its own that its clients trust. */
export async function secured(t, profile = "local", keys = "", extra = "") {
  const dir = await mkdtemp(join(tmpdir(), "chatctl-tls-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const files = await certificate(dir, "one");
  const server = await supervise(t, profile, `${keys}\ntls = { cert = ${JSON.stringify(files.cert)}, key = ${JSON.stringify(files.key)} }`, extra);
  server.url = server.url.replace("http:", "https:");
  server.options = { ca: await readFile(files.cert), agent: undefined };
  return server;
}

/**
 * A port of this file's own, until its tests have ended. It is below those that the kernel gives to whoever connects: a
 * connection of another test could have one of them at the very moment at which it is needed. Who holds the UDP port of
 * that number has taken it; so do the tests in Rust.
 */
export async function freePort() {
  const [lowest, count] = [10_000, 22_000];
  for (let tried = 0; tried < count; tried++) {
    const port = lowest + ((process.pid * 100 + nextPort++) % count);
    const held = createSocket("udp4").unref();
    const has = (emitter) => new Promise((done) => emitter.once("listening", () => done(true)).once("error", () => done(false)));
    const isOurs = has(held);
    held.bind({ port, address: "127.0.0.1", exclusive: true });
    if (!(await isOurs)) continue;
    const probe = createServer();
    const isFree = has(probe);
    probe.listen(port, "0.0.0.0");
    if (await isFree) {
      await new Promise((closed) => probe.close(closed));
      return port;
    }
    held.close();
  }
  throw new Error("no port is free");
}
let nextPort = 0;

/** A connected client; it keeps what it hears in `heard`. */
export async function connect(t, server, query, { library, transports } = FIRST, options = {}) {
  const socket = library(server.url, { transports, query, forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, ...server.options, ...options });
  socket.heard = [];
  for (const event of ["chatting", "join_room", "exit_room", "chat_error"]) {
    socket.on(event, (body) => socket.heard.push([event, body]));
  }
  t.after(() => socket.close());
  const saw = [];
  socket.on("connect_error", (error) => saw.push(`${error.message} ${error.description ?? ""}`));
  await soon("a connection", new Promise((ready, fail) => {
    socket.on("connect", ready);
    socket.on("error", fail);
  })).catch((error) => {
    const { readyState, id, upgrading, transport } = socket.io.engine ?? {};
    throw new Error(`${error.message}: ${JSON.stringify({ query, transports, readyState, id, upgrading, transport: transport?.name, saw, log: server.log })}`);
  });
  return socket;
}

/** Sends an event, and gives the server's answer. */
export const ask = (socket, event, ...payload) =>
  soon(`the answer to ${event}`, new Promise((answer) => socket.emit(event, ...payload, answer)));

/** The next `count` things a socket has heard, in order; they are taken away. */
export async function hear(socket, count = 1) {
  await until(`${count} events`, () => socket.heard.length >= count);
  return socket.heard.splice(0, count);
}

/** Everything a socket has heard up to now: whatever was sent to it before this has arrived when it returns. */
export async function heardByNow(socket) {
  await ask(socket, "no such event");
  return socket.heard.splice(0);
}

/** mulberry32: small, and the same everywhere. */
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A certificate of its own for `name`, and its key. */
export async function certificate(dir, name, days = 30) {
  const [cert, key] = [join(dir, `${name}.crt`), join(dir, `${name}.key`)];
  await promisify(execFile)("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", `${days}`,
    "-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert]);
  return { cert, key };
}
