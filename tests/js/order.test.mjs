// Order and loss: bursts, many receivers, one that does not keep up.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIENTS, ask, connect, serve, until } from "./helpers.mjs";

const BURST = 5000;
const RECEIVERS = 100;

test("a burst arrives at every receiver complete and in order", { concurrency: 1 }, async (t) => {
  const server = await serve(t, "local", "[limits]\nmessages_per_second = 0\n");
  const query = (name) => ({ name, room: "burst" });
  const receivers = await Promise.all(Array.from({ length: RECEIVERS }, async (_, n) => {
    const socket = await connect(t, server, query(`r${n}`), CLIENTS[n % CLIENTS.length]);
    await ask(socket, "join_room", { type: 1 });
    return socket;
  }));
  // Before the burst: the notices of those who came.
  const chats = (socket) => socket.heard.filter(([, body]) => body.type === "chat").map(([, body]) => body.msg);
  const senders = await Promise.all([0, 1].map((n) => connect(t, server, query(`s${n}`))));
  for (let n = 0; n < BURST; n += 2) senders.forEach((sender, who) => sender.emit("chatting", n + who));
  await until("every message everywhere", () => receivers.every((socket) => chats(socket).length >= BURST))
    .catch((error) => assert.fail(`${error}: ${receivers.map((socket) => `${chats(socket).length}${socket.connected ? "" : " gone"}`)}`));
  const one = chats(receivers[0]);
  for (const who of [0, 1]) {
    const own = one.filter((n) => n % 2 === who);
    assert.deepEqual(own, Array.from({ length: BURST / 2 }, (_, n) => 2 * n + who), "each sender's in the order sent");
  }
  receivers.forEach((socket) => assert.deepEqual(chats(socket), one, "one order for all"));
});

test("who stops reading is closed with a reason, and costs the others nothing", async (t) => {
  const server = await serve(t, "local", "[limits]\nmax_queue = 256\nmessages_per_second = 0\n");
  const [reader, deaf, sender] = await Promise.all(["reader", "deaf", "sender"].map((name) => connect(t, server, { name, room: "r" })));
  await ask(reader, "join_room", { type: 1 });
  await ask(deaf, "join_room", { type: 1 });
  const tcp = deaf.io.engine.transport.ws._socket;
  tcp.pause();
  const filler = "x".repeat(20_000);
  let sent = 0;
  await until("the deaf one to be closed", async () => {
    for (let n = 0; n < 50; n += 1) sender.emit("chatting", { n: sent++, filler });
    await ask(sender, "chatting", { n: sent++, filler });
    return server.log.includes("does not keep up");
  });
  const got = () => reader.heard.filter(([, body]) => body.type === "chat").map(([, body]) => body.msg.n);
  await until("everything at the reader", () => got().length >= sent);
  assert.deepEqual(got(), Array.from({ length: sent }, (_, n) => n));
  tcp.resume();
});
