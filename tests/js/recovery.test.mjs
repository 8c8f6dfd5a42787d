// A restart that nobody notices: unmodified clients through crashes, planned restarts and cut connections.
// CHATCTL_RESTARTS=20 is the long form of the matrix; CHATCTL_RTT=50 puts so many milliseconds between (both ways).
import assert from "node:assert/strict";
import { test } from "node:test";
import { crowd, judge, knock, said } from "./crowd.mjs";
import { CLIENTS, ask, connect, hear, supervise, until } from "./helpers.mjs";
import { distance } from "./distance.mjs";

const RESTARTS = Number(process.env.CHATCTL_RESTARTS ?? 3);
const RTT = Number(process.env.CHATCTL_RTT ?? 0);
/** Messages between two breaks. */
const TALK = 100;
const MODERN = CLIENTS.slice(0, 3);
const KEYS = 'min_uptime = "500ms"\nexp_backoff_restart_delay = "1ms"\nrestart_delay = "1ms"';

/** What breaks: the server's process, or the clients' connections. */
const BREAKS = {
  KILL: async (server) => process.kill((await server.status()).pid, "SIGKILL"),
  TERM: async (server) => process.kill((await server.status()).pid, "SIGTERM"),
  cut: async (_, sockets) => sockets.forEach((socket) => cut(socket)),
};
const NAMES = Object.keys(BREAKS);
BREAKS.mix = (server, sockets) => BREAKS[NAMES[Math.floor(Math.random() * NAMES.length)]](server, sockets);

/** As if the network had gone: nothing is said. */
function cut(socket) {
  const transport = socket.io.engine?.transport;
  if (transport?.ws) transport.ws.terminate();
  else transport?.onError?.("cut by the test");
}

for (const client of MODERN) {
  for (const [what, happens] of Object.entries(BREAKS)) {
    test(`${what}: ${RESTARTS} times through ${client.label} nothing is missed, doubled or disordered`, { timeout: 600_000 }, async (t) => {
      const server = await supervise(t, "web", KEYS);
      const refused = knock(t, server);
      if (RTT) server.url = await distance(t, server.url, RTT / 2);
      const [sockets, record] = await crowd(t, server, client);
      for (let n = 0; n < RESTARTS; n += 1) {
        const { reconnects: before, said: already } = record;
        await until("some talk", () => record.said > already + TALK);
        await happens(server, sockets);
        await until("everybody to be back", () => record.reconnects >= before + sockets.length && sockets.every((socket) => socket.connected));
        await until("the server to be well", async () => (await server.status())?.state === "online");
      }
      await record.stop();
      const result = judge(sockets, record);
      t.diagnostic(JSON.stringify(result));
      assert.ok(result.messages > 20 * RESTARTS && result.reconnects >= RESTARTS * sockets.length, JSON.stringify(result));
      // A planned restart loses nothing on the way either; a crash may lose what nobody has seen.
      if (what === "TERM") assert.equal(result.unheard, 0, JSON.stringify(result));
      const { missed, twice, disordered, notRecovered } = result;
      assert.deepEqual(refused, []);
      assert.deepEqual({ missed, twice, disordered, notRecovered }, { missed: 0, twice: 0, disordered: 0, notRecovered: 0 }, `${JSON.stringify(result)}\n${server.log}`);
    });
  }
}

for (const client of MODERN) {
  test(`in several rooms at once, with binary messages, through ${client.label}: all of one's rooms, once, in order`, { timeout: 300_000 }, async (t) => {
    const server = await supervise(t, "react", KEYS);
    const rooms = ["a", "b", "c"];
    const people = await Promise.all(Array.from({ length: 6 }, async (_, n) => {
      const name = `n${n}`;
      const socket = await connect(t, server, {}, client, { reconnectionDelay: 50, reconnectionDelayMax: 200 });
      const own = rooms.filter((_, at) => at !== n % 3);
      for (const idx of own) await ask(socket, "join_room", { idx, name, type: 1 });
      return { socket, name, own };
    }));
    const sockets = people.map(({ socket }) => socket);
    sockets.forEach((socket) => (socket.heard = []));
    const where = [];
    const accepted = new Set();
    const talking = setInterval(() => {
      const id = where.length;
      const { socket, name, own } = people[id % people.length];
      where.push(own[Math.floor(id / people.length) % 2]);
      const msg = id % 5 ? id : Buffer.from([id >> 8, id & 255]);
      socket.emit("chatting", { idx: where[id], name, msg }, ({ ok }) => ok && accepted.add(id));
    }, 5);
    t.after(() => clearInterval(talking));
    for (const happens of NAMES) {
      const already = where.length;
      await until("some talk", () => where.length > already + 60);
      const back = sockets.map((socket) => new Promise((done) => socket.once("connect", done)));
      await BREAKS[happens](server, sockets);
      await Promise.all(back);
      assert.ok(sockets.every(({ recovered }) => recovered), happens);
      await until("the server to be well", async () => (await server.status())?.state === "online");
    }
    clearInterval(talking);
    for (const { socket, name, own } of people) {
      for (const idx of own) await ask(socket, "chatting", { idx, name, msg: "the end" });
    }
    const texts = (socket) => socket.heard.filter(([event, { type }]) => event === "chatting" && type === "chat").map(([, { msg }]) => msg);
    await until("the last words", () => sockets.every((socket) => texts(socket).filter((msg) => msg === "the end").length === 8));
    const id = (msg) => (typeof msg === "number" ? msg : msg.readUInt16BE(0));
    const heard = sockets.map((socket) => texts(socket).filter((msg) => msg !== "the end").map(id));
    for (const room of rooms) {
      const inRoom = heard.map((ids) => ids.filter((id) => where[id] === room));
      const [first] = inRoom.filter((_, n) => people[n].own.includes(room));
      for (const [n, ids] of inRoom.entries()) assert.deepEqual(ids, people[n].own.includes(room) ? first : [], `${people[n].name} in ${room}`);
      assert.equal(new Set(first).size, first.length, "none twice");
      assert.deepEqual([...accepted].filter((id) => where[id] === room && !first.includes(id)), [], "none that was accepted is missing");
      assert.ok(first.length > 40, `${first.length} messages`);
    }
  });
}

test("who has heard nothing yet is told what was said since it joined", async (t) => {
  const server = await supervise(t, "web", KEYS);
  const [quiet, other] = await Promise.all(["quiet", "other"].map((name) => connect(t, server, { name, room: "r" })));
  await ask(quiet, "join_room", { type: 1 });
  quiet.io.reconnection(false);
  cut(quiet);
  await until("the cut", () => !quiet.connected);
  await ask(other, "chatting", "while you were away");
  quiet.io.reconnection(true);
  quiet.connect();
  const [[, message]] = await hear(quiet);
  assert.equal(message.msg, "while you were away");
  assert.equal(quiet.recovered, true);
});

test("who polls and is slow to say its last words is heard", async (t) => {
  const server = await supervise(t, "web", KEYS);
  const listener = await connect(t, server, { name: "listener", room: "r" });
  await ask(listener, "join_room", { type: 1 });
  // As socket.io-client 4.8 polls, on a machine that has much to do.
  const polls = `${server.url}/socket.io/?EIO=4&transport=polling&t=z1x3kq9a&name=slow&room=r`;
  const opened = await (await fetch(polls)).text();
  const session = `${polls}&sid=${JSON.parse(opened.slice(1)).sid}`;
  const get = async () => (await fetch(session)).text();
  const post = async (body) => {
    const answer = await fetch(session, { method: "POST", body });
    return `${answer.status} ${await answer.text()}`;
  };
  for (const body of ["40", '42["join_room",{"type":1}]']) assert.equal(await post(body), "200 ok");
  await until("it to be let in", async () => (await get()).includes("40{"));
  await BREAKS.TERM(server);
  await until("the word that it is to go", async () => (await get()) === "49");
  const asksOnceMore = get();
  await new Promise((ready) => setTimeout(ready, 600));
  assert.equal(await post('42["chatting","its last words"]'), "200 ok", server.log);
  assert.equal(await post("1"), "200 ok");
  await asksOnceMore;
  await until("its last words", () => said(listener).includes("its last words"));
});

test("one session is recovered ten times in a row", async (t) => {
  const server = await supervise(t, "local", `${KEYS}\nmax_restarts = 100`);
  const [one, other] = await Promise.all(["one", "other"].map((name) => connect(t, server, { name, room: "r" })));
  for (const socket of [one, other]) await ask(socket, "join_room", { type: 1 });
  await ask(other, "chatting", "before");
  await until("the message", () => one.heard.some(([, body]) => body.msg === "before"));
  [one, other].forEach((socket) => (socket.heard = []));
  for (let n = 0; n < 10; n += 1) {
    const back = [one, other].map((socket) => new Promise((done) => socket.once("connect", done)));
    await BREAKS[n % 2 ? "KILL" : "TERM"](server);
    await Promise.all(back);
    assert.deepEqual([one.recovered, other.recovered], [true, true], `time ${n}\n${server.log}`);
    assert.equal((await ask(other, "chatting", n)).ok, true);
    await until("the message", () => said(one).includes(n));
    await until("a stable server", async () => (await server.status())?.state === "online");
  }
  assert.deepEqual(said(one), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(one.heard.map(([, { type }]) => type).filter((type) => type === "notice"), [], "nobody was announced as gone");
});
