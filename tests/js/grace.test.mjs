// Who is gone, and who only seems to be: what the room is told, and what older clients find when they come back.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { ask, connect, hear, serve, supervise, until } from "./helpers.mjs";

const require = createRequire(import.meta.url);
const KEYS = 'min_uptime = "500ms"\nrestart_delay = "1ms"';
const GRACE = '[recovery]\nleave_grace = "700ms"\n';
const notices = (socket) => socket.heard.filter(([, body]) => body.type === "notice").map(([, body]) => body.msg);

/** Somebody who leaves in some way, and somebody who watches. */
async function pair(t, server, leaver = {}) {
  const witness = await connect(t, server, { name: "witness", room: "r" });
  await ask(witness, "join_room", { type: 1 });
  const socket = await connect(t, server, { name: "kim", room: "r" }, undefined, leaver);
  await ask(socket, "join_room", { type: 1 });
  await until("both notices", () => notices(witness).length === 2);
  witness.heard = [];
  return [socket, witness];
}

for (const [how, leave] of Object.entries({
  "a DISCONNECT": (socket) => socket.disconnect(),
  "Close 1001, as a tab that is closed": (socket) => socket.io.engine.transport.ws.close(1001),
  "Close 1000": (socket) => socket.io.engine.transport.ws.close(1000),
})) {
  test(`who says goodbye by ${how} is gone at once`, async (t) => {
    const server = await serve(t, "local", '[recovery]\nleave_grace = "10m"\n');
    const [socket, witness] = await pair(t, server, { reconnection: false });
    leave(socket);
    const [[, notice]] = await hear(witness);
    assert.deepEqual(notice, { msg: "kim님이 퇴장하셨습니다.", type: "notice", size: 1 });
  });
}

test("whose connection breaks is gone when the grace is over, once", async (t) => {
  const server = await serve(t, "local", GRACE);
  const [socket, witness] = await pair(t, server, { reconnection: false });
  const before = Date.now();
  socket.io.engine.transport.ws.terminate();
  // It does not count any more, at once.
  await until("the loss", async () => {
    await ask(witness, "chatting", "who is there?");
    return witness.heard.some(([, body]) => body.view === 1);
  });
  await until("the notice", () => notices(witness).length > 0);
  assert.ok(Date.now() - before >= 690, `${Date.now() - before} ms`);
  assert.deepEqual(notices(witness), ["kim님이 퇴장하셨습니다."]);
});

test("who is back in time is not announced, whatever broke", async (t) => {
  const server = await supervise(t, "local", KEYS, '[recovery]\nleave_grace = "10s"\n');
  const [socket, witness] = await pair(t, server);
  for (const breaks of [
    () => socket.io.engine.transport.ws.terminate(),
    async () => process.kill((await server.status()).pid, "SIGKILL"),
    async () => process.kill((await server.status()).pid, "SIGTERM"),
  ]) {
    const back = new Promise((done) => socket.once("connect", done));
    await breaks();
    await back;
    await until("the witness", () => witness.connected);
    await until("a message", async () => {
      const asked = ask(witness, "chatting", "who is there?").catch(() => {});
      return (await asked)?.ok;
    });
  }
  await until("the last message", () => witness.heard.at(-1)?.[1].view === 2);
  assert.deepEqual(notices(witness), []);
});

test("who does not come back from a restart of ours is announced when the grace is over", async (t) => {
  const server = await supervise(t, "local", KEYS, GRACE);
  const [socket, witness] = await pair(t, server, { reconnection: false });
  process.kill((await server.status()).pid, "SIGKILL");
  await until("the end", () => !socket.connected);
  await until("the notice", () => notices(witness).length > 0);
  assert.deepEqual(notices(witness), ["kim님이 퇴장하셨습니다."]);
  assert.equal(witness.recovered, true);
});

test("who was announced, or stepped in for, is not announced again by the next server", async (t) => {
  const server = await supervise(t, "local", KEYS, GRACE);
  const [kim, witness] = await pair(t, server, { reconnection: false });
  kim.io.engine.transport.ws.terminate();
  await until("the notice", () => notices(witness).length > 0);
  // An older client takes its own place, in each server anew: one seat of its name is left behind each time.
  const old = await connect(t, server, { name: "old", room: "r" }, { library: require("socket.io-client-2"), transports: ["websocket"] });
  await ask(old, "join_room", { type: 1 });
  for (let n = 0; n < 3; n += 1) {
    const back = [old, witness].map((socket) => new Promise((done) => socket.once("connect", done)));
    process.kill((await server.status()).pid, "SIGKILL");
    await Promise.all(back);
    await until("everybody to hear", async () => {
      await ask(witness, "chatting", n);
      return old.heard.some(([, body]) => body.msg === n);
    });
    await until("a stable server", async () => (await server.status())?.state === "online");
  }
  // Whoever stays away from here on is announced after all the others would have been.
  const last = await connect(t, server, { name: "last", room: "r" }, undefined, { reconnection: false });
  await ask(last, "join_room", { type: 1 });
  last.io.engine.transport.ws.terminate();
  await until("the last notice", () => notices(witness).at(-1) === "last님이 퇴장하셨습니다.");
  assert.deepEqual(notices(witness), ["kim님이 퇴장하셨습니다.", "old님이 입장하셨습니다.", "last님이 입장하셨습니다.", "last님이 퇴장하셨습니다."]);
});

test("who is thrown out while away does not come back into the room, and is told", async (t) => {
  const server = await serve(t, "react", GRACE);
  const [kim, witness] = await Promise.all(["kim", "witness"].map((name) => connect(t, server, { name, room: "r" })));
  for (const socket of [kim, witness]) await ask(socket, "join_room", { type: 1 });
  kim.io.reconnection(false);
  kim.io.engine.transport.ws.terminate();
  await until("the cut", () => !kim.connected);
  await ask(witness, "chatting", { msg: "before" });
  await ask(witness, "exit_room", { name: "kim" });
  await ask(witness, "chatting", { msg: "about kim" });
  kim.io.reconnection(true);
  kim.connect();
  await until("the word", () => kim.heard.some(([event]) => event === "exit_room"));
  assert.equal(kim.recovered, true);
  await ask(witness, "chatting", { msg: "still without kim" });
  await ask(kim, "no such event");
  assert.deepEqual(kim.heard.filter(([event, body]) => event === "chatting" && body.type === "chat"), []);
});

// Clients that know nothing of recovery: in the room again, silently, and nothing breaks in them.
for (const version of ["2", "3.1", "4.0", "4.5", "4.6"]) {
  for (const transports of [["websocket"], ["polling"]]) {
    test(`client ${version} over ${transports} is back in its room after a crash and a planned restart`, async (t) => {
      const library = require(`socket.io-client-${version}`);
      const server = await supervise(t, "local", KEYS);
      const witness = await connect(t, server, { name: "witness", room: "r" });
      await ask(witness, "join_room", { type: 1 });
      const client = { library: library.io ?? library, transports };
      const old = await connect(t, server, { name: "old", room: "r" }, client);
      await ask(old, "join_room", { type: 1 });
      await until("the notice", () => notices(witness).length === 2);
      for (const signal of ["SIGKILL", "SIGTERM", "SIGTERM"]) {
        const back = [old, witness].map((socket) => new Promise((done) => socket.once("connect", done)));
        process.kill((await server.status()).pid, signal);
        await Promise.all(back);
        await until("everybody to hear", async () => {
          await ask(witness, "chatting", signal);
          return old.heard.some(([, body]) => body.msg === signal);
        });
        assert.equal(old.heard.at(-1)[1].view, 2);
        await until("a stable server", async () => (await server.status())?.state === "online");
      }
      assert.equal(notices(witness).length, 2, "nobody was announced");
    });
  }
}

test("with a history, newcomers are told what was said, as history", async (t) => {
  const server = await supervise(t, "local", KEYS, "[history]\nmessages = 3\n");
  const one = await connect(t, server, { name: "one", room: "r" });
  await ask(one, "join_room", { type: 1 });
  for (let n = 0; n < 5; n += 1) await ask(one, "chatting", n);
  const back = new Promise((done) => one.once("connect", done));
  process.kill((await server.status()).pid, "SIGKILL");
  await back;
  const newcomer = await connect(t, server, { name: "two", room: "r" });
  const history = new Promise((done) => newcomer.on("history", done));
  await ask(newcomer, "join_room", { type: 1 });
  const { room, messages } = await history;
  assert.deepEqual([room, messages.map(({ msg, name }) => [msg, name])], ["r", [[2, "one"], [3, "one"], [4, "one"]]]);
  assert.deepEqual(newcomer.heard.filter(([, body]) => body.type === "chat"), [], "not as messages");
});
