// What no client should send: clear refusals, and the server stays up for the others.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import net from "node:net";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { WebSocket } from "ws";
import { CLIENTS, ask, connect, hear, serve, soon, until } from "./helpers.mjs";

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
  const server = await serve(t, "react", "[limits]\nmax_rooms_per_socket = 10000\nmessages_per_second = 0\n");
  const socket = await connect(t, server, {});
  const answers = await Promise.all(Array.from({ length: 10_000 }, (_, idx) => ask(socket, "join_room", { idx, name: "n", type: 1 })));
  assert.ok(answers.every((answer) => answer.ok));
  assert.match((await ask(socket, "join_room", { idx: "more", name: "n" })).error, /10000|rooms/);
  assert.equal((await ask(socket, "chatting", { idx: 9999, name: "n", msg: "x" })).ok, true);
  assert.equal((await hear(socket))[0][1].view, 1);
});

/** Runs something hostile beside people who talk, and sees that they noticed nothing and that nothing of it is left. */
async function beside(t, server, attack) {
  const memory = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.child.pid}/status`, "utf8"))[1]);
  const files = () => readdirSync(`/proc/${server.child.pid}/fd`).length;
  const people = await Promise.all(["a", "b", "c"].map((name) => connect(t, server, { name, room: "honest" })));
  const lost = [];
  let said = 0;
  for (const socket of people) {
    await ask(socket, "join_room", { type: 1 });
    socket.on("disconnect", (reason) => lost.push(reason));
    socket.heard = [];
  }
  const talking = setInterval(() => people[said % 3].emit("chatting", said++), 10);
  const [before, open] = [memory(), files()];
  try {
    await attack();
  } finally {
    clearInterval(talking);
  }
  await until("everything heard", () => people.every((socket) => socket.heard.filter(([, body]) => body.type === "chat").length >= said));
  const own = (socket) => socket.heard.filter(([, body]) => body.type === "chat").map(([, body]) => body.msg);
  people.forEach((socket) => assert.deepEqual(own(socket).toSorted((a, b) => a - b), Array.from({ length: said }, (_, n) => n)));
  assert.deepEqual([lost, server.child.exitCode], [[], null]);
  assert.doesNotMatch(server.log, /panicked/);
  // A crowd's is given back; that of a few is kept for the next.
  await until(`memory to be back: ${before} KB before`, () => memory() < before + 24 * 1024);
  await until(`descriptors to be back: ${open} before`, () => files() <= open + 5);
  people.forEach((socket) => socket.close());
}

const HEAD = (path) => `GET ${path} HTTP/1.1\r\nhost: x\r\n`;
const UPGRADE = "/socket.io/?EIO=4&transport=websocket&name=n&room=r";
const KEY = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

/** A bare connection that writes this, and goes on with `more` until it is closed. */
function dial(server, text, more = () => {}) {
  const socket = net.connect(server.port, "127.0.0.1", () => {
    socket.write(text);
    more(socket);
  });
  const closed = new Promise((end) => socket.on("close", end));
  socket.on("error", () => {}).resume();
  return { socket, closed };
}

/** A client's frame. */
function frame(opcode, payload, { fin = 0x80, masked = 0x80, length = payload.length } = {}) {
  const size = length < 126 ? [masked | length] : length < 65536 ? [masked | 126, length >> 8, length & 255] : [masked | 127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((by) => (length >>> by) & 255)];
  return Buffer.concat([Buffer.from([fin | opcode, ...size, ...(masked ? [0, 0, 0, 0] : [])]), Buffer.from(payload)]);
}

test("slowloris, half-open sockets and a flood of headers", async (t) => {
  const server = await serve(t, "local", '[limits]\nhandshake_timeout = "2s"\n');
  await beside(t, server, async () => {
    const slow = Array.from({ length: 200 }, () => {
      let timer;
      const connection = dial(server, HEAD("/healthz"), (socket) => (timer = setInterval(() => socket.write("x-y: z\r\n"), 100)));
      return connection.closed.finally(() => clearInterval(timer));
    });
    const silent = Array.from({ length: 200 }, () => dial(server, "").closed);
    const half = Array.from({ length: 100 }, () => dial(server, HEAD(UPGRADE)).closed);
    const flood = Array.from({ length: 20 }, () => dial(server, HEAD("/"), (socket) => {
      const pour = () => { while (!socket.destroyed && socket.write(`x-${randomBytes(4).toString("hex")}: ${"y".repeat(1000)}\r\n`)); };
      socket.on("drain", pour);
      pour();
    }).closed);
    await soon("their end", Promise.all([...slow, ...silent, ...half, ...flood]));
  });
});

test("thousands of handshakes that nobody follows up", async (t) => {
  const server = await serve(t, "local", '[limits]\nhandshake_timeout = "3s"\n');
  const HANDSHAKES = 10_000;
  await beside(t, server, async () => {
    for (let n = 0; n < HANDSHAKES; n += 100) {
      await Promise.all(Array.from({ length: 50 }, () => fetch(`${server.url}/socket.io/?EIO=4&transport=polling`).then((answer) => answer.text())));
      await Promise.all(Array.from({ length: 50 }, () => {
        const { socket, closed } = dial(server, `${HEAD(UPGRADE)}${KEY}\r\n`);
        socket.once("data", () => socket.destroy());
        return closed;
      }));
    }
  });
});

test("frames of every illegal kind", async (t) => {
  const server = await serve(t);
  const illegal = [
    frame(3, "reserved"), frame(0xb, "reserved"), frame(1, "unmasked", { masked: 0 }), frame(1, "x", { fin: 0xc0 }), frame(1, "x", { fin: 0xf0 }),
    frame(0, "a continuation of nothing"), Buffer.concat([frame(1, "42[", { fin: 0 }), frame(1, "interleaved")]), frame(9, "x".repeat(200)), frame(8, "x"),
    frame(8, "\u0003\u0000"), frame(9, "", { fin: 0 }), frame(1, "", { length: 0x7fffffff }), Buffer.from([0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
    frame(1, Buffer.from([0xff, 0xfe, 0x80])), frame(2, ""), frame(2, Buffer.alloc(100)), frame(1, "4"), frame(1, "40/other,{}"), frame(1, "6"), frame(1, "1"),
    ...Array.from({ length: 100 }, (_, n) => randomBytes(n + 1)),
  ];
  await beside(t, server, async () => {
    for (const connected of [false, true]) {
      await Promise.all(illegal.map(async (bytes) => {
        const { socket, closed } = dial(server, `${HEAD(UPGRADE)}${KEY}\r\n`);
        await soon("the upgrade", Promise.race([closed, new Promise((open) => socket.once("data", open))]));
        if (connected) socket.write(frame(1, "40"));
        socket.write(bytes);
        socket.write(frame(1, '42["chatting","after"]'));
        socket.end(frame(8, ""));
        await soon("its end", closed);
      }));
    }
  });
});

test("huge attachments, too many of them, and those that never come", async (t) => {
  const server = await serve(t);
  await beside(t, server, async () => {
    const placeholders = (count) => JSON.stringify(["chatting", Array.from({ length: count }, (_, num) => ({ _placeholder: true, num }))]);
    for (const attack of [
      async (socket) => socket.send(`451-["chatting",{"_placeholder":true,"num":0}]`) ?? socket.send(Buffer.alloc(2_000_000)),
      async (socket) => { socket.send(`45100000-${placeholders(10)}`); for (let n = 0; n < 100; n += 1) socket.send(Buffer.alloc(10_000)); },
      async (socket) => { for (let n = 0; n < 50; n += 1) socket.send(`451-["chatting",{"_placeholder":true,"num":0}]`); },
      async (socket) => { for (let n = 0; n < 200; n += 1) socket.send(Buffer.alloc(50_000)); },
      async (socket) => { socket.send(`4520-${placeholders(20)}`); for (let n = 0; n < 20; n += 1) socket.send(Buffer.alloc(40_000)); },
    ]) {
      await Promise.all(Array.from({ length: 10 }, async () => {
        const socket = await raw(t, server);
        const gone = new Promise((end) => socket.on("close", end));
        await attack(socket);
        socket.close();
        await soon("its end", gone);
      }));
    }
  });
});

test("floods of acknowledgements, namespaces and packets that mean nothing", async (t) => {
  const server = await serve(t, "local", "[limits]\nmessages_per_second = 100\nmessage_burst = 500\n");
  await beside(t, server, async () => {
    await Promise.all(["43[1]", "4312345[]", "40/x,{}", "40/x", "40", "41", "2", "3", "6", '42["nothing"]', '4212["nothing"]'].map(async (packet) => {
      const socket = await raw(t, server);
      const gone = new Promise((end) => socket.on("close", end));
      // One namespace over and over, and ever another one.
      for (let n = 0; n < 5000; n += 1) socket.send(packet === "40/x" ? `40/x${n},{}` : packet);
      await Promise.race([gone, new Promise((later) => socket.send("2", later))]);
      socket.terminate();
      await soon("its end", gone);
    }));
  });
});

test("a flood that comes again and again goes on where it stopped; its neighbours lose no more than the burst", async (t) => {
  const server = await serve(t, "local", 'trusted_proxies = ["127.0.0.1"]\n[limits]\nexempt = []\nmessages_per_second = 20\nmessage_burst = 200\n');
  const from = (address, query, client) => connect(t, server, query, client, { extraHeaders: { "x-forwarded-for": address } });
  const say = (socket, times) => Promise.all(Array.from({ length: times }, () => ask(socket, "chatting", "hello")));
  for (const [index, client] of CLIENTS.filter(({ label }) => /^4.8 (websocket|polling)$/.test(label)).entries()) {
    const [room, bad] = [client.label, `192.0.2.${index}`];
    const witness = await from("198.51.100.1", { name: "witness", room });
    await ask(witness, "join_room", { type: 1 });
    const begun = Date.now();
    const TIMES = 3;
    for (let n = 0; n < TIMES; n += 1) {
      const flooder = await from(bad, { name: "flooder", room }, client);
      for (let m = 0; m < 250; m += 1) flooder.emit("chatting", "flood");
      await ask(flooder, "chatting", "flood");
      assert.ok(flooder.heard.some(([event, { reason }]) => event === "chat_error" && /too fast/.test(reason)), client.label);
      flooder.close();
    }
    // Whoever comes from there can say what a page says when it opens; elsewhere all is as it was.
    const neighbour = await from(bad, { name: "neighbour", room });
    const stranger = await from(`203.0.113.${index}`, { name: "stranger", room });
    assert.ok((await say(neighbour, 10)).every(({ ok }) => ok), client.label);
    assert.ok((await say(stranger, 200)).every(({ ok }) => ok), client.label);
    const heard = witness.heard.filter(([, body]) => body.msg === "flood").length;
    const most = 200 + 10 * TIMES + 20 * ((Date.now() - begun) / 1000 + 1);
    assert.ok(heard >= 200 && heard <= most, `${client.label}: ${heard} of at most ${most}`);
    [witness, neighbour, stranger].forEach((socket) => socket.close());
  }
  await alive(t, server);
  assert.equal(server.child.exitCode, null);
});

test("a compressed bomb is not even unpacked", async (t) => {
  const server = await serve(t);
  await beside(t, server, async () => {
    const bomb = deflateRawSync(Buffer.alloc(50_000_000));
    const { socket, closed } = dial(server, `${HEAD(UPGRADE)}${KEY}sec-websocket-extensions: permessage-deflate\r\n\r\n`);
    const answer = await soon("the upgrade", new Promise((open) => socket.once("data", (text) => open(String(text)))));
    assert.doesNotMatch(answer, /permessage-deflate/i);
    socket.write(frame(1, bomb, { fin: 0xc0 }));
    await soon("its end", closed);
    const { sid } = JSON.parse((await (await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`)).text()).slice(1));
    const post = `POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-encoding: deflate\r\ncontent-length: ${bomb.length}\r\n\r\n`;
    await soon("its end", dial(server, Buffer.concat([Buffer.from(post), bomb])).closed);
  });
});

test("paths that lead elsewhere", async (t) => {
  const server = await serve(t, "local", '[page]\ndir = "."\n');
  const paths = ["/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/.%00/etc/passwd", "//etc/passwd", "/state/../../etc/passwd", "/%5c..%5c..%5cetc/passwd", "/socket.io/../../etc/passwd", "/room/../../etc/passwd", "/\u0000", "/.git/config", "/%2egit/config"];
  await beside(t, server, async () => {
    for (const path of paths) {
      let heard = "";
      const { socket, closed } = dial(server, `${HEAD(path)}connection: close\r\n\r\n`);
      socket.on("data", (text) => (heard += text));
      await soon("its end", closed);
      assert.doesNotMatch(heard, /root:/, path);
      assert.doesNotMatch(heard, /^HTTP\/1.1 [25]/, `${path}: ${heard.slice(0, 80)}`);
    }
  });
});
