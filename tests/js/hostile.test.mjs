// What no client should send: clear refusals, and the server stays up for the others.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import net from "node:net";
import { test } from "node:test";
import { WebSocket } from "ws";
import { ask, connect, hear, serve, soon } from "./helpers.mjs";

async function alive(t, server) {
  const socket = await connect(t, server, { name: "n", room: "alive" });
  assert.equal((await ask(socket, "chatting", "x")).ok, true);
  socket.close();
}

/** A bare WebSocket that has done the Socket.IO handshake. */
async function raw(t, server) {
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket&name=n&room=r`);
  socket.on("error", () => {});
  t.after(() => socket.terminate());
  await soon("open", new Promise((open) => socket.on("open", open)));
  socket.send("40");
  return socket;
}

test("malformed packets end at most their own connection", async (t) => {
  const server = await serve(t);
  const nasty = [
    "42", "42[", "42[]", "42[1]", "42[null,1]", '42["chatting"', '42{"a":1}', "4", "49", "99", "", "4599-[", "450-[]",
    '45999999999-["chatting"]', "43[1]", "431[", '42["chatting","\\ud800"]', `42["chatting",${"[".repeat(50_000)}`,
    '42["join_room",{"mem_cnt":1e999}]', '42/other,["x"]', "41", "40{", '42["disconnect"]', '42["connect"]', "b4AAAA", "2probe", "5",
    `42["chatting",${"[".repeat(5000)}${"]".repeat(5000)}]`, '42184467440737095516160["chatting",1]',
  ];
  await Promise.all(nasty.flatMap((packet) => [packet, Buffer.from(packet)]).map(async (packet) => {
    const socket = await raw(t, server);
    await new Promise((sent) => socket.send(packet, sent));
    await new Promise((sent) => socket.send('420["chatting","after"]', sent));
  }));
  for (let n = 0; n < 300; n += 1) {
    const socket = await raw(t, server);
    const bytes = randomBytes(1 + (n % 200));
    socket.send(n % 2 ? bytes : `42${bytes.toString("latin1")}`);
    socket.close();
  }
  await alive(t, server);
  assert.equal(server.child.exitCode, null);
  assert.doesNotMatch(server.log, /panicked/);
});

test("malformed HTTP ends its connection only", async (t) => {
  const server = await serve(t);
  const requests = [
    "GET / HTTP/9\r\n\r\n", "\0\0\0\0\r\n\r\n", `GET /${"a".repeat(200_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
    "POST /socket.io/?EIO=4&transport=polling&sid=nobody HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
    "GET /socket.io/?EIO=77&transport=polling HTTP/1.1\r\nhost: x\r\n\r\n", "GET /socket.io/?%ff=%zz HTTP/1.1\r\nhost: x\r\n\r\n",
  ];
  for (const request of requests) {
    await new Promise((end) => {
      const socket = net.connect(server.port, "127.0.0.1", () => socket.end(request));
      socket.resume().on("close", end).on("error", () => {});
    });
  }
  await alive(t, server);
});

test("an oversized payload is refused, at its sender only", async (t) => {
  const server = await serve(t);
  const socket = await connect(t, server, { name: "n", room: "r" });
  const lost = new Promise((reason) => socket.once("disconnect", reason));
  socket.emit("chatting", "x".repeat(2_000_000));
  await soon("the sender's end", lost);
  await alive(t, server);
});

test("names of a megabyte are refused with words", async (t) => {
  const server = await serve(t, "react");
  const socket = await connect(t, server, {});
  for (const payload of [{ idx: "r", name: "n".repeat(900_000) }, { idx: "r".repeat(900_000), name: "n" }]) {
    const { error } = await ask(socket, "join_room", { type: 0, ...payload });
    assert.match(error, /256/);
  }
  assert.equal((await ask(socket, "join_room", { idx: 7, name: 8, type: 0 })).ok, true);
  const [[, body]] = await hear(socket);
  assert.equal(body.name, "8");
});

test("events without payload, unknown events and unspeakable payloads get an answer", async (t) => {
  const server = await serve(t);
  const socket = await connect(t, server, { name: "n", room: "r" });
  for (const [event, ...payload] of [["nothing"], ["chatting"], ["join_room", 5], ["join_room", "x"], ["exit_room", []], ["leave_room"]]) {
    const answer = await ask(socket, event, ...payload);
    assert.ok(answer.ok === true || typeof answer.error === "string", `${event}: ${JSON.stringify(answer)}`);
  }
});

test("ten thousand rooms", async (t) => {
  const server = await serve(t, "react", "[limits]\nmax_rooms_per_socket = 10000\n");
  const socket = await connect(t, server, {});
  const answers = await Promise.all(Array.from({ length: 10_000 }, (_, idx) => ask(socket, "join_room", { idx, name: "n", type: 1 })));
  assert.ok(answers.every((answer) => answer.ok));
  assert.match((await ask(socket, "join_room", { idx: "more", name: "n" })).error, /10000|rooms/);
  assert.equal((await ask(socket, "chatting", { idx: 9999, name: "n", msg: "x" })).ok, true);
  assert.equal((await hear(socket))[0][1].view, 1);
});
