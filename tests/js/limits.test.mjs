// Who is let in and how much of it: limits, proxies, origins. Refusals have words and are counted; the others notice nothing.
import assert from "node:assert/strict";
import { get } from "node:http";
import net from "node:net";
import { test } from "node:test";
import { WebSocket } from "ws";
import { CLIENTS, FIRST, ask, connect, hear, serve, soon, supervise, until } from "./helpers.mjs";

const HANDSHAKE = "/socket.io/?EIO=4&transport=polling";
const POLLING = CLIENTS.find(({ label }) => label === "4.8 polling");

/** An Engine.IO session that is opened and left alone. */
const open = (server, headers = {}, query = "") => fetch(`${server.url}${HANDSHAKE}${query}`, { headers });

/** How a WebSocket upgrade is answered: 101, or what stands in its place. */
const upgrade = (server, headers) =>
  soon("an answer to the upgrade", new Promise((answer) => {
    const socket = new WebSocket(`${server.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`, { headers });
    socket.on("open", () => (socket.terminate(), answer(101)));
    socket.on("unexpected-response", (_, response) => answer(response.statusCode));
    socket.on("error", () => {});
  }));

/** By what somebody was refused. */
const met = (counts) => Object.keys(counts).filter((by) => counts[by] > 0);

/** What a bare connection hears until its end. */
const bare = (server, ...chunks) =>
  soon("the end of a connection", new Promise((end) => {
    let heard = "";
    const socket = net.connect(server.port, "127.0.0.1", () => chunks.forEach((chunk) => socket.write(chunk)));
    socket.on("data", (text) => (heard += text)).on("close", () => end(heard)).on("error", () => {});
  }));

test("no more clients than there may be, in all, from one address, under one name", async (t) => {
  for (const [limits, status, words] of [
    ["max_connections = 2", 503, /full/],
    ["exempt = []\nmax_connections_per_address = 2", 429, /address/],
    ["max_connections_per_name = 2", 429, /name/],
  ]) {
    const server = await serve(t, "local", `[limits]\n${limits}\n`);
    const query = { name: "n", room: "r" };
    const [one, two] = [await connect(t, server, query), await connect(t, server, query, POLLING)];
    const refused = await open(server, {}, "&name=n");
    assert.equal(refused.status, status);
    assert.match((await refused.json()).message, words);
    assert.equal(await upgrade(server, {}).then((code) => code === 101 && limits.includes("name")), limits.includes("name"));
    // A client that is turned away comes in by itself when there is room.
    const patient = connect(t, server, query);
    two.close();
    assert.equal((await ask(await patient, "chatting", "x")).ok, true);
    assert.equal((await ask(one, "chatting", "x")).ok, true);
  }
});

test("a server that is full is let be by its supervisor", async (t) => {
  for (const limits of ["max_connections = 2", "exempt = []\nmax_connections_per_address = 2"]) {
    const server = await supervise(t, "local", "probe_interval = 50", `[limits]\n${limits}\n`);
    const { pid } = await server.status();
    for (let n = 0; n < 2; n += 1) await connect(t, server, { name: "n", room: "r" });
    const refused = async () => Object.values((await server.status())?.turned_away ?? {}).reduce((sum, count) => sum + count, 0);
    await until("probes to be turned away", async () => (await refused()) >= 10);
    const status = await server.status();
    assert.deepEqual([status.pid, status.restarts, status.health], [pid, 0, "ok"]);
  }
});

test("addresses that are exempt are not counted one by one", async (t) => {
  const server = await serve(t, "local", "[limits]\nmax_connections_per_address = 1\n");
  for (let n = 0; n < 5; n += 1) await connect(t, server, { name: "n", room: "r" });
});

test("too fast is told once, counted, and does not lose what was taken", async (t) => {
  const server = await supervise(t, "local", "", "[limits]\nmessages_per_second = 20\nmessage_burst = 50\n");
  let refusals = 0;
  for (const client of CLIENTS) {
    const [flooder, other] = await Promise.all(["flooder", "other"].map((name) => connect(t, server, { name, room: client.label }, client)));
    for (const socket of [flooder, other]) await ask(socket, "join_room", { type: 1 });
    await ask(flooder, "chatting", "before");
    [flooder, other].forEach((socket) => (socket.heard = []));
    // How many are refused depends on how many are read at once: who is read more slowly is refused less.
    const begun = Date.now();
    for (let n = 0; n < 200; n += 1) flooder.emit("chatting", n);
    const asked = Array.from({ length: 20 }, () => ask(flooder, "chatting", "with an answer"));
    const answers = await Promise.all(asked);
    const most = 50 + 20 * ((Date.now() - begun) / 1000 + 1);
    const refused = answers.filter(({ ok }) => !ok);
    assert.ok(refused.length > 0, client.label);
    for (const { error } of refused) assert.match(error, /too fast: at most 20 a second/);
    refusals += refused.length;
    assert.equal((await ask(other, "chatting", "the end")).ok, true);
    await until("the end", () => other.heard.some(([, body]) => body.msg === "the end"));
    const told = flooder.heard.filter(([event]) => event === "chat_error");
    assert.equal(told.length, 1, client.label);
    assert.match(told[0][1].reason, /too fast/);
    const taken = other.heard.map(([, body]) => body.msg).filter((msg) => typeof msg === "number");
    assert.ok(taken.length >= 40 && taken.length < most, `${taken.length} of at most ${most}`);
    assert.deepEqual(taken.slice(0, 40), Array.from({ length: 40 }, (_, n) => n));
    // Who waits for each answer is read as fast as it may speak: one now and then is refused, not all.
    let taken_in_turn = 0;
    for (let n = 0; n < 12; n += 1) taken_in_turn += (await ask(flooder, "chatting", "again")).ok ? 1 : 0;
    assert.ok(taken_in_turn >= 4, `${client.label}: ${taken_in_turn} of 12`);
    assert.equal(flooder.connected, true);
    [flooder, other].forEach((socket) => socket.close());
  }
  const { turned_away } = await until("the count", async () => {
    const app = await server.status();
    return app?.turned_away?.messages_per_second >= refusals && app;
  });
  assert.deepEqual(met(turned_away), ["messages_per_second"]);
});

test("a packet that is too long is refused with a reason, counted, and its sender comes back", async (t) => {
  const server = await supervise(t, "local", "", "[limits]\nmax_payload = 2000\n");
  let times = 0;
  for (const client of CLIENTS) {
    for (const size of [3000, 3_000_000]) {
      const socket = await connect(t, server, { name: "n", room: "r" }, client);
      await until("its last transport", () => socket.io.engine.transport.name === client.transports.at(-1));
      const [lost, back] = [new Promise((done) => socket.once("disconnect", (_, details) => done(details?.context))), new Promise((done) => socket.once("connect", done))];
      socket.emit("chatting", "x".repeat(size));
      times += 1;
      const { code, reason } = (await soon("its end", lost)) ?? {};
      if (/^4.*websocket/.test(client.label)) assert.deepEqual([code, reason], [1009, "a packet is too long: max_payload is 2000 bytes"], client.label);
      await soon("its return", back);
      assert.equal((await ask(socket, "chatting", "x".repeat(1000))).ok, true, client.label);
      socket.close();
    }
  }
  const post = async (length) => {
    const { sid } = JSON.parse((await (await open(server)).text()).slice(1));
    times += 1;
    return `POST ${HANDSHAKE}&sid=${sid} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${length}\r\n\r\n`;
  };
  const { port } = new URL(server.url);
  // However much it is: who first sends all of it can do so, and read why.
  for (const size of [3000, 5_000_000, 20_000_000]) {
    const body = `4${"x".repeat(size)}`;
    const head = await post(body.length);
    const answer = await soon("an answer", new Promise((end, fail) => {
      let heard = "";
      const socket = net.connect(port, "127.0.0.1", () => socket.write(head + body, () => socket.setEncoding("utf8").on("data", (text) => (heard += text))));
      socket.on("error", fail).on("close", () => end(heard));
    }));
    assert.match(answer, /^HTTP\/1.1 413 [^]*a packet is too long: max_payload is 2000 bytes$/, `${size}`);
  }
  // But not for ever.
  const endless = net.connect(port, "127.0.0.1").on("error", () => {}).resume();
  endless.write(await post(2 ** 40));
  const pour = () => { while (!endless.destroyed && endless.write("x".repeat(65_536))); };
  endless.on("drain", pour);
  pour();
  await soon("its end", new Promise((end) => endless.on("close", end)));
  const counted = await until("the count", async () => (await server.status())?.turned_away);
  assert.deepEqual([met(counted), counted.max_payload], [["max_payload"], times]);
});

test("too much in one room is refused there, and nowhere else", async (t) => {
  const server = await serve(t, "react", "[limits]\nroom_messages_per_second = 1\nroom_message_burst = 10\n");
  const socket = await connect(t, server, {});
  for (const idx of ["full", "quiet"]) await ask(socket, "join_room", { idx, name: "n", type: 1 });
  const say = (idx) => ask(socket, "chatting", { idx, name: "n", msg: "x" });
  const answers = [];
  for (let n = 0; n < 20; n += 1) answers.push(await say("full"));
  assert.ok(answers.slice(0, 10).every(({ ok }) => ok));
  assert.match(answers.at(-1).error, /room/);
  assert.equal((await say("quiet")).ok, true);
});

test("frames that are no events make a client slow, and nobody else", async (t) => {
  const server = await serve(t, "local", "[limits]\nmessages_per_second = 50\nmessage_burst = 50\n");
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket&name=n&room=r`);
  t.after(() => socket.terminate());
  await soon("open", new Promise((ready) => socket.on("open", ready)));
  let pongs = 0;
  socket.on("pong", () => (pongs += 1));
  socket.send("40");
  const begun = Date.now();
  for (let n = 0; n < 600; n += 1) socket.ping();
  await until("all of it", () => pongs >= 600);
  // 200 at once, the rest at 200 a second.
  assert.ok(Date.now() - begun > 1500, `${Date.now() - begun} ms`);
});

test("what is long makes a client slow, and none of it is lost", async (t) => {
  for (const client of [FIRST, POLLING]) {
    const server = await serve(t, "local", "[limits]\nmessages_per_second = 50\nmessage_burst = 50\n");
    const [speaker, listener] = await Promise.all(["speaker", "listener"].map((name) => connect(t, server, { name, room: "r" }, client)));
    for (const socket of [speaker, listener]) await ask(socket, "join_room", { type: 1 });
    const begun = Date.now();
    const long = Array.from({ length: 6 }, (_, n) => `${n}${"x".repeat(400_000)}`);
    long.forEach((text) => speaker.emit("chatting", text));
    const said = () => listener.heard.filter(([, body]) => body.type === "chat").map(([, body]) => body.msg);
    await until("all of it", () => said().length >= long.length);
    assert.deepEqual(said(), long);
    // 800 KB at once, the rest at 800 KB a second; by polling the last 800 KB are read before they are weighed.
    assert.ok(Date.now() - begun > 700, `${client.label}: ${Date.now() - begun} ms`);
    assert.deepEqual(speaker.heard.filter(([event]) => event === "chat_error"), []);
  }
});

test("a trusted proxy says whose connections they are, and nobody else does", async (t) => {
  const keys = "[limits]\nexempt = []\nmax_connections_per_address = 2\n";
  const trusting = await serve(t, "local", `trusted_proxies = ["127.0.0.1"]\n${keys}`);
  const through = (who) => open(trusting, { "x-forwarded-for": who }).then(({ status }) => status);
  assert.deepEqual([await through("192.0.2.1"), await through("192.0.2.1"), await through("192.0.2.1")], [200, 200, 429]);
  assert.equal(await through("192.0.2.2"), 200);
  // What the client itself wrote before does not help it.
  assert.equal(await through("192.0.2.77, 192.0.2.1"), 429);
  assert.equal(await upgrade(trusting, { "x-forwarded-for": "192.0.2.1" }), 429);
  assert.equal(await upgrade(trusting, { "x-forwarded-for": "192.0.2.3" }), 101);
  const suspicious = await serve(t, "local", keys);
  const spoofed = [];
  for (let n = 0; n < 3; n += 1) spoofed.push((await open(suspicious, { "x-forwarded-for": `192.0.2.${n}` })).status);
  assert.deepEqual(spoofed, [200, 200, 429]);
});

test("the PROXY protocol, versions 1 and 2, from trusted proxies", async (t) => {
  const server = await serve(t, "local", 'trusted_proxies = ["127.0.0.1"]\n[limits]\nexempt = []\nmax_connections_per_address = 2\n');
  const request = `GET ${HANDSHAKE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`;
  const one = (who) => `PROXY TCP4 ${who} 127.0.0.1 5555 80\r\n`;
  const two = (who) => Buffer.concat([
    Buffer.from("\r\n\r\n\0\r\nQUIT\n"), Buffer.from([0x21, 0x11, 0, 12]), Buffer.from(who.split(".").map(Number)), Buffer.from([127, 0, 0, 1, 0x15, 0xb3, 0, 80]),
  ]);
  const both = (head) => Buffer.concat([Buffer.from(head), Buffer.from(request)]);
  assert.match(await bare(server, both(one("192.0.2.1"))), /^HTTP\/1.1 200/);
  assert.match(await bare(server, both(two("192.0.2.1"))), /^HTTP\/1.1 200/);
  assert.match(await bare(server, both(one("192.0.2.1"))), /^HTTP\/1.1 429/);
  assert.match(await bare(server, both(two("192.0.2.2"))), /^HTTP\/1.1 200/);
  assert.equal(await bare(server, "PROXY TCP4 nonsense\r\n"), "", "half a header is no connection");
  assert.match(await bare(server, request), /^HTTP\/1.1 200/, "and none is needed");
  const distrusting = await serve(t);
  assert.match(await bare(distrusting, both(one("192.0.2.1"))), /^HTTP\/1.1 400/);
});

test("pages of other origins are refused by polling and by WebSocket, with and without a wildcard", async (t) => {
  const server = await serve(t, "local", '[cors]\norigins = ["https://php.example", "https://*.example.org"]\n');
  for (const [origin, allowed] of [
    [undefined, true], ["https://php.example", true], ["https://a.b.example.org", true], [server.url, true],
    ["https://evil.example", false], ["https://example.org", false], ["https://php.example.evil.net", false], ["null", false],
  ]) {
    const headers = origin ? { origin } : {};
    const answer = await open(server, headers);
    assert.equal(answer.status, allowed ? 200 : 403, `polling from ${origin}`);
    const named = origin && origin !== server.url && allowed;
    assert.equal(answer.headers.get("access-control-allow-origin"), named ? origin : null, `${origin}`);
    assert.equal(answer.headers.get("access-control-allow-credentials"), named ? "true" : answer.headers.get("access-control-allow-credentials"));
    assert.equal(await upgrade(server, headers), allowed ? 101 : 403, `WebSocket from ${origin}`);
  }
  const { message } = await (await open(server, { origin: "https://evil.example" })).json();
  assert.match(message, /origin/);
  // A session cannot be used from elsewhere either.
  const { sid } = JSON.parse((await (await open(server)).text()).slice(1));
  assert.equal((await fetch(`${server.url}${HANDSHAKE}&sid=${sid}`, { method: "POST", body: "40", headers: { origin: "https://evil.example" } })).status, 403);
});

test("who opens a session and never connects to the chat is closed, and counted; who goes by itself is not", async (t) => {
  const server = await supervise(t, "local", "", '[limits]\nhandshake_timeout = "1s"\n');
  const honest = await connect(t, server, { name: "n", room: "r" });
  const websocket = () => new WebSocket(`${server.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  const [silent, gone] = [websocket(), websocket()];
  gone.on("open", () => gone.close());
  await soon("the silent one's end", new Promise((end) => silent.on("close", end)));
  const { sid } = JSON.parse((await (await open(server)).text()).slice(1));
  await until("the end of who polls", async () => (await fetch(`${server.url}${HANDSHAKE}&sid=${sid}`)).status === 400);
  const counted = await until("the count", async () => {
    const app = await server.status();
    return app?.turned_away.handshake_timeout >= 2 && app.turned_away;
  });
  assert.deepEqual([met(counted), counted.handshake_timeout], [["handshake_timeout"], 2]);
  assert.equal((await ask(honest, "chatting", "still here")).ok, true);
});

test("who brings no request, half a body, or takes no answer is given up; an honest client stays", async (t) => {
  const server = await serve(t, "local", '[limits]\nhandshake_timeout = "1s"\nbody_timeout = "1s"\nstall_timeout = "1s"\nmax_queue_bytes = "64M"\nmax_queue = 100000\n');
  const honest = await connect(t, server, { name: "honest", room: "r" });
  const lost = [];
  honest.on("disconnect", (reason) => lost.push(reason));
  await ask(honest, "join_room", { type: 1 });
  await bare(server);
  await bare(server, "GET / HT");
  await bare(server, "GET / HTTP/1.1\r\n", "host: x\r\n");
  const { sid } = JSON.parse((await (await open(server)).text()).slice(1));
  assert.match(await bare(server, `POST ${HANDSHAKE}&sid=${sid} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n42`), /^HTTP\/1.1 408/);
  // A page that is asked for, over and over, and never read.
  const greedy = net.connect(server.port, "127.0.0.1");
  greedy.on("error", () => {}).pause();
  const asking = setInterval(() => greedy.write("GET /socket.io/socket.io.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50)), 5);
  t.after(() => clearInterval(asking));
  await soon("the end of who reads nothing", new Promise((end) => greedy.on("close", end)));
  // A WebSocket that goes on saying that it is alive, and reads nothing.
  const deaf = net.connect(server.port, "127.0.0.1");
  deaf.on("error", () => {});
  deaf.write("GET /socket.io/?EIO=4&transport=websocket&name=deaf&room=r HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
  const frame = (text) => deaf.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]));
  frame("40");
  await soon("CONNECT", new Promise((ready) => deaf.on("data", (text) => String(text).includes("40{") && ready())));
  frame('42["join_room",{}]');
  await until("it in the room", () => honest.heard.some(([, body]) => String(body.msg).startsWith("deaf")));
  deaf.pause();
  const alive = setInterval(() => frame("3"), 100);
  t.after(() => clearInterval(alive));
  const gone = new Promise((end) => deaf.on("close", end));
  const talking = setInterval(() => honest.emit("chatting", "x".repeat(100_000)), 5);
  t.after(() => clearInterval(talking));
  await soon("the end of who takes nothing", gone);
  clearInterval(talking);
  assert.equal((await ask(honest, "chatting", "still here")).ok, true);
  assert.deepEqual(lost, []);
});
