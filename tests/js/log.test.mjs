// What the log says of real sessions, at its highest level: everything of a connection's life, and none of the secrets.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { CLIENTS, connect, serve, soon, supervise, until } from "./helpers.mjs";

process.env.RUST_LOG = "trace";

const TEXT = "t3xt-of-a-message";
const NAME = "n4me-of-a-person";

/** Everything that somebody could take a session over with, or that somebody said. */
function secrets(sockets) {
  const found = sockets.flatMap((socket) => [socket.id, socket.io.engine.id, socket._pid, socket._lastOffset]);
  return [TEXT, NAME, "pr1vate-room", "0dd-event", ...found.filter(Boolean)];
}

/** Real sessions of every kind of client: joined, spoken, refused, left. */
async function sessions(t, server) {
  const sockets = [];
  for (const client of CLIENTS) {
    const socket = await connect(t, server, { name: NAME, room: "pr1vate-room" }, client);
    socket.emit("join_room", { type: 0 });
    socket.emit(`0dd-event ${TEXT}`, TEXT);
    await soon("an acknowledgement", new Promise((done) => socket.emit("chatting", TEXT, done)));
    sockets.push(socket);
  }
  await until("everybody to hear the last", () => sockets.every((socket) => socket.heard.some(([, body]) => body.msg === TEXT)));
  return sockets;
}

for (const format of ["text", "json"]) {
  test(`${format}: a connection can be followed, and no secret is told`, async (t) => {
    const server = await serve(t, "local", `[log]\nformat = "${format}"\n`);
    const sockets = await sessions(t, server);
    const told = secrets(sockets);
    assert.ok(told.length > 12, "ids are looked for");
    sockets.forEach((socket) => socket.close());
    await until("the last to be gone", () => server.log.split("\n").filter((line) => line.includes("gone")).length >= sockets.length);
    for (const secret of told) assert.ok(!server.log.includes(secret), `${secret} is in the log`);

    const lines = server.log.trim().split("\n");
    if (format === "json") {
      const objects = lines.map((line) => JSON.parse(line));
      for (const { timestamp, level, target, message } of objects) assert.ok(timestamp && level && target && message !== undefined);
      const life = objects.filter(({ conn }) => conn === 1).map(({ message }) => message);
      for (const moment of ["opened", "websocket", "admitted", "connected", "accepted", "refused", "gone"]) assert.ok(life.includes(moment), `${moment}: ${life}`);
    } else {
      const life = lines.filter((line) => /\bconn=1\b/.test(line)).join("\n");
      for (const moment of ["opened", "websocket", "admitted", "connected", "accepted", "refused", "gone"]) assert.match(life, new RegExp(moment));
    }
  });
}

test("through a crash and a recovery: the files of the supervisor tell no secret either", async (t) => {
  const server = await supervise(t);
  const socket = await connect(t, server, { name: NAME, room: "pr1vate-room" });
  socket.emit("join_room", { type: 0 });
  await soon("an acknowledgement", new Promise((done) => socket.emit("chatting", TEXT, done)));
  await until("it to be heard", () => socket.heard.some(([, body]) => body.msg === TEXT));
  const before = secrets([socket]);
  const back = new Promise((done) => socket.once("connect", done));
  process.kill((await server.status()).pid, "SIGKILL");
  await soon("the client to be back", back);
  assert.ok(socket.recovered);
  const log = () => readFile(join(server.dir, "state/logs/chatting.log"), "utf8");
  await until("the recovery to be told", async () => (await log()).includes("recovered"));
  const events = await readFile(join(server.dir, "state/logs/events.jsonl"), "utf8");
  for (const secret of [...before, ...secrets([socket])]) {
    for (const [where, text] of Object.entries({ log: await log(), supervisor: server.log, events })) assert.ok(!text.includes(secret), `${secret} is in the ${where}`);
  }
});

test("messages are told to those who ask for them", async (t) => {
  const server = await serve(t, "local", "[log]\nmessages = true\n");
  await sessions(t, server);
  await until("the text", () => server.log.includes(TEXT));
});
