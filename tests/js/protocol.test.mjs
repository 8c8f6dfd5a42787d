// Engine.IO and Socket.IO as their specifications have it, spoken by hand: what a well-behaved client never does is here too.
import assert from "node:assert/strict";
import test from "node:test";
import WebSocket from "ws";
import { ask, connect, CLIENTS, hear, serve, soon, until } from "./helpers.mjs";

const path = (eio, sid = "") => `/socket.io/?EIO=${eio}&transport=polling&name=n&room=r${sid && `&sid=${sid}`}`;
const get = async (server, eio, sid) => {
  const answer = await soon("an answer", fetch(server.url + path(eio, sid)));
  return [answer.status, await answer.text()];
};
const post = async (server, eio, sid, body) => {
  const answer = await soon("an answer", fetch(server.url + path(eio, sid), { method: "POST", body }));
  return [answer.status, await answer.text()];
};
/** A payload with these packets. */
const payload = (eio, ...packets) => eio === 4 ? packets.join("\x1e") : packets.map((packet) => `${packet.length}:${packet}`).join("");

async function open(server, eio) {
  const [status, text] = await get(server, eio);
  assert.equal(status, 200);
  const packet = eio === 4 ? text : text.slice(text.indexOf(":") + 1);
  if (eio === 3) assert.equal(Number(text.split(":")[0]), packet.length);
  assert.equal(packet[0], "0");
  return JSON.parse(packet.slice(1));
}

/** A WebSocket by hand, what it has said, and its end. */
async function dial(t, server, query) {
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/socket.io/?transport=websocket&name=n&room=r&${query}`);
  t.after(() => socket.terminate());
  const said = [];
  socket.on("message", (data, binary) => said.push(binary ? data : String(data)));
  const closed = new Promise((end) => socket.on("close", end)).then(() => "closed");
  socket.on("error", () => {});
  const next = async () => {
    await until("a packet", () => said.length > 0);
    return said.shift();
  };
  return { socket, said, closed, next };
}

for (const eio of [3, 4]) {
  test(`protocol ${eio}: a session opens, and is told what it has to know`, async (t) => {
    const server = await serve(t, "web");
    const told = await open(server, eio);
    assert.equal(typeof told.sid, "string");
    const { next } = await dial(t, server, `EIO=${eio}`);
    const by_websocket = JSON.parse((await next()).slice(1));
    const common = { pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 };
    assert.deepEqual([{ ...told, sid: 0 }, { ...by_websocket, sid: 0 }], [{ sid: 0, upgrades: ["websocket"], ...common }, { sid: 0, upgrades: [], ...common }]);
    assert.notEqual(told.sid, by_websocket.sid);
  });

  test(`protocol ${eio}: what is no request of it is refused with its number`, async (t) => {
    const server = await serve(t, "web");
    for (const [query, method, code] of [
      ["transport=polling", "GET", 5],
      ["EIO=abc&transport=polling", "GET", 5],
      [`EIO=${eio}`, "GET", 0],
      [`EIO=${eio}&transport=abc`, "GET", 0],
      [`EIO=${eio}&transport=polling`, "POST", 2],
      [`EIO=${eio}&transport=polling`, "PUT", 2],
      [`EIO=${eio}&transport=polling&sid=unknown`, "GET", 1],
      [`EIO=${eio}&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA`, "POST", 1],
      [`EIO=${eio}&transport=websocket`, "GET", 3],
    ]) {
      const answer = await fetch(`${server.url}/socket.io/?${query}`, { method });
      assert.deepEqual([answer.status, (await answer.json()).code], [400, code], `${method} ${query}`);
    }
  });

  test(`protocol ${eio}: two who fetch at once end the session`, async (t) => {
    const server = await serve(t, "web");
    const { sid } = await open(server, eio);
    if (eio === 3) assert.equal((await get(server, eio, sid))[1], "2:40");
    const both = await Promise.all([get(server, eio, sid), get(server, eio, sid)]);
    both.sort(([one], [other]) => one - other);
    assert.deepEqual(both, [[200, payload(eio, "1")], [400, '{"code":3,"message":"Bad request"}']]);
    assert.equal((await get(server, eio, sid))[0], 400);
  });

  test(`protocol ${eio}: who closes is answered, and so is what it waits for`, async (t) => {
    const server = await serve(t, "web");
    // Of two requests at once either may be the first to come.
    await until("a fetch to wait when the session is closed", async () => {
      const { sid } = await open(server, eio);
      if (eio === 3) await get(server, eio, sid);
      const waiting = get(server, eio, sid);
      assert.deepEqual(await post(server, eio, sid, payload(eio, "1")), [200, "ok"]);
      const [status, text] = await waiting;
      assert.deepEqual([status, text], status === 200 ? [200, payload(eio, "6")] : [400, '{"code":1,"message":"Session ID unknown"}']);
      assert.equal((await get(server, eio, sid))[0], 400);
      return status === 200;
    });
    const { socket, next, closed } = await dial(t, server, `EIO=${eio}`);
    await next();
    socket.send("1");
    assert.equal(await soon("its end", closed), "closed");
  });

  test(`protocol ${eio}: what means nothing ends the session`, async (t) => {
    const server = await serve(t, "web");
    for (const packet of ["abc", "4abc", "42[]", "0", "5", "49", "451-[]", "43[]"]) {
      // In protocol 3 one is connected by opening.
      if (eio === 3 && packet === "42[]") continue;
      const { sid } = await open(server, eio);
      const [status] = await post(server, eio, sid, payload(eio, ...(packet === "451-[]" ? [packet, "42[]"] : [packet])));
      assert.equal(status, 400, packet);
      assert.equal((await get(server, eio, sid))[0], 400, packet);
      const { socket, next, closed } = await dial(t, server, `EIO=${eio}`);
      await next();
      socket.send(packet);
      if (packet === "451-[]") socket.send("42[]");
      assert.equal(await soon(`its end after ${packet}`, closed), "closed");
    }
  });

  test(`protocol ${eio}: a session goes over to a WebSocket, and to no other`, async (t) => {
    const server = await serve(t, "web");
    const { sid } = await open(server, eio);
    if (eio === 3) assert.equal((await get(server, eio, sid))[1], "2:40");
    else {
      await post(server, eio, sid, "40");
      assert.match((await get(server, eio, sid))[1], /^40\{"sid":"[^"]+","pid":"[^"]+"\}$/);
    }
    const waiting = get(server, eio, sid);
    const { socket, next, said } = await dial(t, server, `EIO=${eio}&sid=${sid}`);
    await new Promise((ready) => socket.on("open", ready));
    socket.send("2probe");
    assert.equal(await next(), "3probe");
    assert.deepEqual(await waiting, [200, payload(eio, "6")]);
    assert.deepEqual(await get(server, eio, sid), [200, payload(eio, "6")], "nothing more is fetched");
    // What is still on its way by the old transport is taken in.
    assert.deepEqual(await post(server, eio, sid, payload(eio, '420["join_room",{"type":1}]')), [200, "ok"]);
    assert.deepEqual(said, []);
    socket.send("5");
    assert.equal(await next(), '430[{"ok":true}]');
    assert.deepEqual([(await get(server, eio, sid))[0], (await post(server, eio, sid, payload(eio, "2")))[0]], [400, 400]);
    const { closed } = await dial(t, server, `EIO=${eio}&sid=${sid}`);
    assert.equal(await soon("its end", closed), "closed");
    socket.send('421["chatting","hello"]');
    assert.match(await next(), /^42\["chatting",\{"msg":"hello"/);
    assert.match(await next(), /^431\[\{"ok":true/);
  });

  test(`protocol ${eio}: a session tries one WebSocket at a time, and what waited for it comes first`, async (t) => {
    const server = await serve(t, "web");
    const { sid } = await open(server, eio);
    if (eio === 3) await get(server, eio, sid);
    const { socket, next } = await dial(t, server, `EIO=${eio}&sid=${sid}`);
    await new Promise((ready) => socket.on("open", ready));
    const other = await dial(t, server, `EIO=${eio}&sid=${sid}`);
    assert.equal(await soon("the end of another", other.closed), "closed");
    socket.send("2probe");
    assert.equal(await next(), "3probe");
    if (eio === 4) await post(server, eio, sid, "40");
    // It does not wait to be told that it is connected.
    await post(server, eio, sid, payload(eio, '420["join_room",{"type":1}]', '421["chatting","hello"]'));
    await until("nothing to be fetched", async () => (await get(server, eio, sid))[1] === payload(eio, "6"));
    socket.ping();
    socket.send("5");
    const order = eio === 4 ? [/^40\{/] : [];
    for (const expected of [...order, /^430\[\{"ok":true/, /^42\["chatting",\{"msg":"hello"/, /^431\[\{"ok":true/]) assert.match(await next(), expected);
  });

  test(`protocol ${eio}: who only tries a WebSocket goes on polling`, async (t) => {
    const server = await serve(t, "web");
    for (const tried of [["nonsense"], ["2probe", "nonsense"], ["2probe"], []]) {
      const { sid } = await open(server, eio);
      if (eio === 4) await post(server, eio, sid, "40");
      const { socket, closed, next } = await dial(t, server, `EIO=${eio}&sid=${sid}`);
      await new Promise((ready) => socket.on("open", ready));
      for (const packet of tried) {
        socket.send(packet);
        if (packet === "2probe") await next();
      }
      socket.close(1000);
      await soon("its end", closed);
      let heard = "";
      await until("the reply to its CONNECT", async () => (heard += (await get(server, eio, sid))[1]).includes("40"));
      assert.deepEqual(await post(server, eio, sid, payload(eio, '427["join_room",{"type":1}]')), [200, "ok"]);
      await until("an answer", async () => (heard += (await get(server, eio, sid))[1]).includes('437[{"ok":true}]'));
    }
  });
}

/** By what a client shows that it knows what to do with a packet that is none. */
const MODERN = "&t=z1x3kq9a";

for (const [eio, shows, expected] of [[3, "", /"last words".*1:1$/], [4, "", /^1$/], [4, MODERN, /^49$/]]) {
  test(`protocol ${eio}${shows}: who polls fetches what was said to it with the goodbye, if it cannot ask for it later`, async (t) => {
    const server = await serve(t, "web");
    const opened = await (await fetch(server.url + path(eio) + shows)).text();
    const { sid } = JSON.parse(opened.slice(opened.indexOf("{")));
    if (eio === 4) await post(server, eio, sid, "40");
    await get(server, eio, sid);
    await post(server, eio, sid, payload(eio, '42["join_room",{"type":1}]'));
    const { socket, next } = await dial(t, server, "EIO=4");
    await next();
    socket.send("40");
    await next();
    socket.send('421["chatting","last words"]');
    assert.match(await next(), /^431\[\{"ok":true/);
    server.child.kill("SIGTERM");
    await until("the goodbye", async () => (await get(server, eio))[0] === 503);
    const [status, body] = await get(server, eio, sid);
    assert.equal(status, 200);
    assert.match(body, expected);
  });
}

test("who leaves the chat may come back on the same connection, as somebody new", async (t) => {
  const server = await serve(t, "web");
  const { socket, next } = await dial(t, server, "EIO=4");
  await next();
  const ids = new Set();
  for (let n = 0; n < 3; n += 1) {
    socket.send("40");
    const reply = await next();
    assert.match(reply, /^40\{/);
    ids.add(reply);
    socket.send('420["join_room",{"type":1}]');
    assert.equal(await next(), '430[{"ok":true}]');
    socket.send('421["chatting","x"]');
    assert.equal(JSON.parse((await next()).slice(2))[1].view, 1);
    await next();
    socket.send("41");
  }
  assert.equal(ids.size, 3);
});

test("who asks and does not fetch the answers is not heard for ever", async (t) => {
  const server = await serve(t, "web");
  for (const eio of [3, 4]) {
    const { sid } = await open(server, eio);
    const [status] = await post(server, eio, sid, payload(eio, ...Array.from({ length: 100_000 }, () => (eio === 4 ? "40/x," : "2"))));
    assert.equal(status, 400);
    assert.equal((await get(server, eio, sid))[0], 400);
    const few = await open(server, eio);
    assert.deepEqual(await post(server, eio, few.sid, payload(eio, ...Array.from({ length: 50 }, () => (eio === 4 ? "40/x," : "2")))), [200, "ok"]);
    let heard = "";
    await until("all of it", async () => (heard += (await get(server, eio, few.sid))[1]).split(eio === 4 ? "44/x," : "1:3").length === 51);
  }
});

test("who says something at once with its CONNECT is heard", async (t) => {
  const server = await serve(t, "web");
  for (let n = 0; n < 20; n += 1) {
    const { socket, next } = await dial(t, server, "EIO=4");
    await next();
    for (const packet of ["40", '420["join_room",{"type":1}]', '421["chatting","x"]']) socket.send(packet);
    for (const expected of [/^40/, /^430/, /^42/, /^431/]) assert.match(await next(), expected);
    socket.send("41");
    socket.send("40");
    assert.match(await next(), /^40/);
    socket.close();
  }
});

test("large messages, whole and in parts, with pings between them: all is heard, in order", async (t) => {
  const server = await serve(t, "web", "[limits]\nmessages_per_second = 0\nroom_messages_per_second = 0\n");
  const { socket, next } = await dial(t, server, "EIO=4");
  await next();
  for (const packet of ["40", '42["join_room",{"type":1}]']) socket.send(packet);
  await next();
  let pongs = 0;
  socket.on("pong", () => (pongs += 1));
  for (let n = 0; n < 20; n += 1) {
    const size = [10, 20_000, 300_000, 900_000][n % 4];
    const text = `42["chatting","${"x".repeat(size)} ${n}"]`;
    socket.ping("p".repeat(n));
    for (let from = 0; from < text.length; from += 100_000) {
      socket.send(text.slice(from, from + 100_000), { fin: from + 100_000 >= text.length });
    }
    socket.send(`451-["chatting",{"_placeholder":true,"num":0}]`);
    socket.send(Buffer.alloc(size, n));
    if (n % 3 === 0) await new Promise((later) => setTimeout(later, 5));
  }
  for (let n = 0; n < 20; n += 1) {
    assert.match((await next()).slice(-100), new RegExp(` ${n}",`));
    assert.match(await next(), /^451-/);
    const data = await next();
    assert.deepEqual([data.length, data[0]], [[10, 20_000, 300_000, 900_000][n % 4], n]);
  }
  await until("the pongs", () => pongs === 20);
});

test("there is one namespace", async (t) => {
  const server = await serve(t, "web");
  const { socket, next } = await dial(t, server, "EIO=4");
  await next();
  socket.send("40/other,");
  assert.equal(await next(), '44/other,{"message":"Invalid namespace"}');
  socket.send('42/other,["chatting","x"]');
  socket.send("41/other,");
  socket.send("40");
  assert.match(await next(), /^40\{/);
});

test("nothing that is said while somebody goes over to a WebSocket is missed, doubled or disordered", async (t) => {
  const server = await serve(t, "web", "[limits]\nmessages_per_second = 0\nroom_messages_per_second = 0\n");
  const speaker = await connect(t, server, { name: "speaker", room: "r" });
  await ask(speaker, "join_room", { type: 1 });
  let said = 0;
  const talking = setInterval(() => { for (let n = 0; n < 5; n += 1) speaker.emit("chatting", said++); }, 1);
  t.after(() => clearInterval(talking));
  for (const client of CLIENTS.filter(({ transports }) => transports.length > 1)) {
    for (let n = 0; n < 10; n += 1) {
      const socket = await connect(t, server, { name: "n", room: "r" }, client);
      await ask(socket, "join_room", { type: 1 });
      const own = Array.from({ length: 20 }, (_, m) => ask(socket, "chatting", `${client.label} ${n} ${m}`));
      await until("a WebSocket", () => socket.io.engine.transport.name === "websocket");
      assert.ok((await Promise.all(own)).every(({ ok }) => ok));
      await until("some more", () => socket.heard.at(-1)?.[1].msg >= said - 50);
      const heard = socket.heard.map(([, body]) => body.msg);
      const numbers = heard.filter((msg) => typeof msg === "number");
      assert.deepEqual(numbers, Array.from(numbers, (_, at) => numbers[0] + at), client.label);
      assert.deepEqual(heard.filter((msg) => /^[24]/.test(msg) && typeof msg === "string"), Array.from({ length: 20 }, (_, m) => `${client.label} ${n} ${m}`));
      socket.close();
    }
  }
});
