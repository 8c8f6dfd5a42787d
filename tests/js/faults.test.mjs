// Recovery when things are not as they should be: disks, files, clients that lie, clients that stop reading,
// connections that only seem to be there.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, readdirSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { distance } from "./distance.mjs";
import { ask, connect, program, run, serve, soon, supervise, until } from "./helpers.mjs";

const KEYS = 'min_uptime = "500ms"\nrestart_delay = "1ms"';
const SECONDS = Number(process.env.CHATCTL_STALL ?? 2);

const journal = (server) => join(server.dir, "state/journal", server.status ? "chatting.sqlite" : "a.sqlite");
const messages = (socket) => socket.heard.filter(([, { type }]) => type === "chat").map(([, { msg }]) => msg);

/** What the server says of itself. */
const stats = (server) => soon("/stats", new Promise((done, fail) => {
  const socketPath = join(server.dir, "state/run/chatting.sock");
  request({ socketPath, path: "/stats" }, (answer) => {
    let text = "";
    answer.on("data", (part) => (text += part)).on("end", () => done(JSON.parse(text)));
  }).on("error", fail).end();
}));

/** A room with people in it, who come back quickly. */
async function room(t, server, names, options = {}) {
  const sockets = await Promise.all(names.map((name) => connect(t, server, { name, room: "r" }, undefined, options)));
  for (const socket of sockets) await ask(socket, "join_room", { type: 1 });
  return sockets;
}

async function crash(server, sockets, meanwhile = () => {}) {
  const back = sockets.map((socket) => new Promise((done) => socket.once("connect", done)));
  const { pid } = await server.status();
  process.kill(pid, "SIGSTOP");
  await meanwhile();
  process.kill(pid, "SIGKILL");
  await soon("everybody to be back", Promise.all(back));
}

test("the journal is its owner's alone, and what was said goes when the window is over", async (t) => {
  const server = await supervise(t, "web", KEYS, '[recovery]\nwindow = "1s"\n');
  const [one] = await room(t, server, ["one"]);
  await ask(one, "chatting", "between us");
  const dir = join(server.dir, "state/journal");
  assert.equal(statSync(dir).mode & 0o777, 0o700);
  for (const file of readdirSync(dir)) assert.equal(statSync(join(dir, file)).mode & 0o777, 0o600, file);
  assert.ok((await stats(server)).recovery.journal_messages > 0);
  await until("the journal to be empty", async () => (await stats(server)).recovery.journal_messages === 0);
});

test("with recovery off nothing is written and no id is offered", async (t) => {
  const server = await supervise(t, "web", KEYS);
  const [one] = await room(t, server, ["one"]);
  await ask(one, "chatting", "kept");
  assert.ok(existsSync(journal(server)));
  const toml = join(server.dir, "chat.toml");
  writeFileSync(toml, `${readFileSync(toml, "utf8")}[recovery]\nenabled = false\n`);
  assert.equal(spawnSync(program, ["reload"], { cwd: server.dir }).status, 0);
  assert.equal((await ask(one, "chatting", "x")).ok, true);
  assert.deepEqual(readdirSync(join(server.dir, "state/journal")), ["chatting.lock"], "what there was is gone too");
  await crash(server, [one]);
  assert.ok(!one.recovered);
  assert.equal(one._pid, undefined);
});

for (const [what, harm] of Object.entries({
  "truncated": (file) => truncateSync(file, 5000),
  "emptied": (file) => truncateSync(file, 0),
  "no database": (file) => writeFileSync(file, "nonsense".repeat(10_000)),
  "zeroed in the middle": (file) => {
    const fd = openSync(file, "r+");
    writeSync(fd, Buffer.alloc(statSync(file).size - 4096), 0, undefined, 4096);
    closeSync(fd);
  },
})) {
  test(`a journal that is ${what} is begun afresh, and the chat goes on`, async (t) => {
    const server = await supervise(t, "web", KEYS);
    const [one, two] = await room(t, server, ["one", "two"]);
    for (let n = 0; n < 50; n += 1) await ask(one, "chatting", n);
    await crash(server, [one, two], () => {
      harm(journal(server));
      for (const suffix of ["-wal", "-shm"]) truncateSync(journal(server) + suffix, 0);
    });
    for (const socket of [one, two]) {
      assert.equal(socket.recovered, false);
      await ask(socket, "join_room", { type: 1 });
    }
    assert.equal((await ask(one, "chatting", "on we go")).ok, true);
    await until("the message", () => messages(two).at(-1) === "on we go");
    // And from there on it recovers again.
    await crash(server, [one, two]);
    assert.deepEqual([one.recovered, two.recovered], [true, true]);
  });
}

test("a place that cannot be written is said, and the chat goes on", async (t) => {
  const server = await supervise(t, "web", KEYS, '[recovery]\npath = "/proc/nowhere"\n');
  const [one] = await room(t, server, ["one"]);
  assert.equal((await ask(one, "chatting", "x")).ok, true);
  const app = await until("it to be said", async () => {
    const app = await server.status();
    return app?.health === "degraded" && app;
  });
  assert.match(app.recovery.trouble, /\/proc\/nowhere/);
  const { status, stdout } = spawnSync(program, ["status"], { cwd: server.dir, encoding: "utf8" });
  assert.equal(status, 1);
  assert.match(stdout, /chatting: recovery is off, the chat goes on: \/proc\/nowhere/);
});

test("on a full disk the chat goes on without recovery, and recovers again when there is room", async (t) => {
  const dir = join((await serve(t)).dir, "full");
  await mkdir(join(dir, "state/journal"), { recursive: true });
  writeFileSync(join(dir, "chat.toml"), 'state_dir = "state"\n[[app]]\nname = "a"\nprofile = "web"\nlisten = "127.0.0.1:0"\n');
  const mount = `mount -t tmpfs -o size=2m none state/journal && exec ${program} serve`;
  if (spawnSync("unshare", ["-rm", "true"]).status !== 0) return t.skip("this machine has no user namespaces");
  const server = run(t, dir, ["-rm", "sh", "-c", mount], "unshare");
  server.url = await until("the server to listen", () => /listening on (http:\S+)/.exec(server.log)?.[1]);
  const inside = `/proc/${server.child.pid}/root${dir}/state/journal`;
  const [one, two] = await room(t, server, ["one", "two"]);
  const filler = openSync(join(inside, "filler"), "w");
  for (const size of [65536, 4096]) {
    try {
      for (;;) writeSync(filler, Buffer.alloc(size));
    } catch (error) {
      assert.equal(error.code, "ENOSPC");
    }
  }
  let said = 0;
  await until("the journal to give up", async () => {
    assert.equal((await ask(one, "chatting", (said += 1))).ok, true);
    return /recovery is off, the chat goes on: .*full/.test(server.log);
  });
  for (let n = 0; n < 20; n += 1) assert.equal((await ask(one, "chatting", (said += 1))).ok, true);
  await until("all messages", () => messages(two).length === said);
  assert.deepEqual(messages(two), Array.from({ length: said }, (_, n) => n + 1));
  truncateSync(join(inside, "filler"), 0);
  closeSync(filler);
  await until("recovery", () => /recovery is on again/.test(server.log));
  // Nobody is recovered across the gap; what is said now is safe.
  await ask(one, "chatting", "kept");
  await until("the message", () => messages(two).at(-1) === "kept");
  const back = new Promise((done) => two.once("connect", done));
  two.io.engine.transport.ws.terminate();
  await ask(one, "chatting", "meanwhile");
  await soon("the return", back);
  await until("the message", () => messages(two).at(-1) === "meanwhile");
  assert.equal(two.recovered, true);
});

test("two servers never share a journal", async (t) => {
  const server = await serve(t);
  const second = run(t, server.dir, ["serve"]);
  assert.deepEqual(await soon("the end", second.ended), { code: 1, signal: null });
  assert.match(second.log, /journal\/a\.sqlite is in use by another chatctl/);
});

test("who lies about its id or its offset begins afresh, and hears nothing of others", async (t) => {
  const server = await supervise(t, "web", KEYS);
  const [one] = await room(t, server, ["one"]);
  const offset = (await ask(one, "chatting", "secret")).offset;
  const [epoch, id] = offset.split("-");
  for (const auth of [
    { pid: "AAAAAAAAAAAAAAAAAAAA", offset },
    { pid: "", offset: "" },
    { pid: "x".repeat(100_000), offset: "y".repeat(100_000) },
    { pid: 7, offset: { a: 1 } },
    { pid: one._pid, offset: `${epoch}-${Number(id) + 1000}` },
    { pid: one._pid, offset: `dead-${id}` },
    { pid: one._pid, offset: "-1" },
    "nonsense",
    [1, 2],
  ]) {
    const liar = await connect(t, server, { name: "liar", room: "r" }, undefined, { auth });
    await ask(liar, "no such event");
    assert.deepEqual([liar.recovered, messages(liar)], [false, []], JSON.stringify(auth).slice(0, 60));
    liar.close();
  }
  assert.equal((await ask(one, "chatting", "untouched")).ok, true);
  const { refused } = (await stats(server)).recovery;
  assert.ok(refused["unknown session"] >= 2 && refused["foreign offset"] >= 2 && refused["offset ahead"] >= 1, JSON.stringify(refused));
});

test("a connection that only seems to be there gives way to the client that comes back", async (t) => {
  const server = await supervise(t, "web", KEYS);
  const way = { url: await distance(t, server.url, 0) };
  const [far] = await room(t, { ...server, ...way }, ["far"]);
  const [near] = await room(t, server, ["near"]);
  await ask(near, "chatting", 1);
  await until("the message", () => messages(far).length === 1);
  distance.freeze(way.url);
  await ask(near, "chatting", 2);
  const back = new Promise((done) => far.once("connect", done));
  far.io.engine.transport.ws.terminate();
  await soon("the return", back);
  assert.equal(far.recovered, true);
  await ask(near, "chatting", 3);
  await until("the messages", () => messages(far).length === 3);
  assert.deepEqual(messages(far), [1, 2, 3]);
  assert.equal(far.heard.at(-1)[1].view, 2, "it counts once");
});

test(`two of four who read nothing for ${SECONDS} s under a flood miss nothing, and nobody else waits for them`, { timeout: 300_000 }, async (t) => {
  const server = await supervise(t, "web", KEYS, '[limits]\nmax_queue = 512\nmessages_per_second = 100000\nmessage_burst = 100000\nroom_messages_per_second = 100000\nroom_message_burst = 100000\n[recovery]\nmax_bytes = "2G"\n');
  const sockets = await room(t, server, ["a", "b", "c", "d"]);
  const [sender] = await room(t, server, ["sender"]);
  const text = "x".repeat(4096);
  const stopped = sockets.slice(2).map((socket) => socket.io.engine.transport.ws._socket);
  stopped.forEach((socket) => socket.pause());
  const end = Date.now() + SECONDS * 1000;
  let said = 0;
  let slow_closed = 0;
  // As long as it takes on this machine until they are given up, and for so many seconds.
  while (Date.now() < end || slow_closed < 2) {
    ({ slow_closed } = await stats(server));
    await Promise.all(Array.from({ length: 20 }, () => ask(sender, "chatting", `${(said += 1)} ${text}`)));
  }
  await until("the others to have heard everything", () => sockets.slice(0, 2).every((socket) => messages(socket).length === said));
  stopped.forEach((socket) => socket.resume());
  await until("everybody to have heard everything", () => sockets.every((socket) => messages(socket).length >= said));
  for (const socket of sockets) {
    assert.deepEqual(messages(socket).map((msg) => Number(msg.split(" ")[0])), Array.from({ length: said }, (_, n) => n + 1));
  }
  t.diagnostic(`${said} messages of 4 KB, ${slow_closed} connections closed as slow`);
});
