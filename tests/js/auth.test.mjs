// Tokens: who comes in, what one may do with it, what happens when it expires, and how pages get one.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { CLIENTS, ask, connect, hear, heardByNow, serve, soon, supervise, until } from "./helpers.mjs";

const SECRET = "a secret of at least 32 characters, really";
const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;
const b64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** A token of these claims, signed by a secret or a private key. */
function token(claims, { alg = "HS256", key = SECRET, kid } = {}) {
  const body = `${b64({ alg, typ: "JWT", kid })}.${b64({ exp: inSeconds(60), ...claims })}`;
  const signature = alg === "HS256" ? createHmac("sha256", key).update(body).digest() : sign(alg === "EdDSA" ? null : "sha256", body, { key, dsaEncoding: "ieee-p1363" });
  return `${body}.${signature.toString("base64url")}`;
}

async function secret(t, text = SECRET) {
  const dir = await mkdtemp(join(tmpdir(), "chatctl-auth-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = join(dir, "keys");
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

const section = (file, more = "") => `[auth]\nkeys = ${JSON.stringify(file)}\n${more}`;

/** Why a client is not let in. */
function denied(t, server, options, { library, transports } = CLIENTS[0]) {
  const socket = library(server.url, { transports, forceNew: true, ...options });
  t.after(() => socket.close());
  return soon("a refusal", new Promise((done, fail) => {
    const why = (error) => done(typeof error === "string" ? error : error.message);
    socket.on("connect_error", why).on("error", why).on("connect", () => fail(new Error("it was let in")));
  }));
}

test("nobody comes in without a token, in any way, with a reason", async (t) => {
  const server = await serve(t, "web", section(await secret(t)));
  for (const client of CLIENTS) {
    const old = client.label.startsWith("2");
    const give = (value, query = {}) => (old ? { query: { ...query, token: value } } : { auth: { token: value }, query });
    const room = client.label;
    assert.match(await denied(t, server, {}, client), /a token is needed/);
    assert.match(await denied(t, server, give("nonsense"), client), /no JWT/);
    assert.match(await denied(t, server, give(token({ name: "kim" }, { key: "another" })), client), /not signed/);
    assert.match(await denied(t, server, give(token({ name: "kim", exp: 1 })), client), /expired/);
    assert.match(await denied(t, server, give(token({ name: "kim" }), { name: "lee" }), client), /another name/);
    const mine = token({ name: "kim", rooms: [room] });
    for (const options of old ? [give(mine, { room })] : [give(mine, { room }), { query: { room, token: mine } }]) {
      const socket = await connect(t, server, { room, ...options.query }, client, { ...options, query: { room, ...options.query } });
      assert.equal((await ask(socket, "join_room", { type: 0 })).ok, true);
      const [[, notice]] = await hear(socket);
      assert.equal(notice.msg, "kim 님이 입장하셨습니다.");
      socket.close();
    }
  }
});

test("a token fixes name, rooms and roles", async (t) => {
  const server = await serve(t, "react", section(await secret(t)));
  const as = (claims) => connect(t, server, {}, CLIENTS[0], { auth: { token: token(claims) } });
  const forever = await as({ name: "forever", rooms: ["a"], exp: 1e19 });
  const [kim, lee, boss] = [await as({ name: "kim", rooms: ["a", 2] }), await as({ name: "lee", rooms: ["a"] }), await as({ name: "boss", rooms: "*", roles: ["moderator"] })];
  assert.equal((await ask(kim, "join_room", { idx: 2, type: 1 })).ok, true, "a number is its text");
  for (const [socket, event, payload, why] of [
    [kim, "chatting", { idx: "a", msg: "x" }, /join it first/],
    [kim, "join_room", { idx: "b" }, /this room/],
    [kim, "join_room", { idx: "a", name: "lee" }, /another name/],
    [kim, "exit_room", { idx: 2, name: "lee" }, /taking others out/],
  ]) {
    assert.match((await ask(socket, event, payload)).error, why, event);
  }
  for (const socket of [kim, lee, boss]) assert.equal((await ask(socket, "join_room", { idx: "a", type: 1 })).ok, true);
  assert.equal((await ask(kim, "chatting", { idx: "a", name: "kim", msg: "hello" })).ok, true);
  assert.equal((await hear(lee))[0][1].name, "kim");
  assert.equal((await ask(boss, "exit_room", { idx: "a", name: "lee" })).ok, true);
  await until("lee's end in the room", () => lee.heard.some(([event]) => event === "exit_room"));
  assert.match((await ask(lee, "chatting", { idx: "a", msg: "x" })).error, /join it first/);
  assert.equal((await ask(forever, "join_room", { idx: "a", type: 1 })).ok, true, "what never ends does not end at once");
});

test("when a token expires people are told, sent away, and with a new one nothing is missed", async (t) => {
  const server = await supervise(t, "web", "", section(await secret(t), 'leeway = "0s"'));
  const talker = await connect(t, server, { room: "r" }, CLIENTS[0], { auth: { token: token({ name: "talker", rooms: ["r"] }) } });
  await ask(talker, "join_room", { type: 1 });
  for (const client of CLIENTS.filter(({ label }) => label.startsWith("4"))) {
    let exp = inSeconds(3);
    const fresh = (give) => give({ token: token({ name: "kim", rooms: ["r"], exp }) });
    const socket = await connect(t, server, { room: "r" }, client, { auth: fresh });
    await ask(socket, "join_room", { type: 1 });
    await ask(talker, "chatting", "before");
    await until("the message", () => socket.heard.length > 0);
    const told = new Promise((done) => socket.on("auth_expired", done));
    const lost = new Promise((done) => socket.on("disconnect", done));
    const back = new Promise((done) => socket.once("connect", done));
    exp = inSeconds(600);
    assert.deepEqual(await soon("the word", told), { reason: "the token has expired" });
    let said = 0;
    const talking = setInterval(() => talker.emit("chatting", said++), 5);
    t.after(() => clearInterval(talking));
    assert.notEqual(await soon("its end", lost), "io server disconnect");
    await soon("its return", back);
    clearInterval(talking);
    assert.equal(socket.recovered, true, client.label);
    await ask(talker, "chatting", "the end");
    await until("the end", () => socket.heard.some(([, { msg }]) => msg === "the end"));
    const heard = socket.heard.map(([, { msg }]) => msg).filter((msg) => typeof msg === "number");
    assert.deepEqual(heard, Array.from({ length: said }, (_, n) => n));
    socket.close();
  }
  // With the old one it is not let in again, and is told.
  const old = await connect(t, server, { room: "r" }, CLIENTS[0], { auth: { token: token({ name: "old", rooms: ["r"], exp: inSeconds(2) }) } });
  assert.match(await soon("the refusal", new Promise((done) => old.on("connect_error", ({ message }) => done(message)))), /expired/);
});

test("a session is recovered only by whom it belongs to, and where it may still be", async (t) => {
  const server = await serve(t, "web", section(await secret(t)));
  const claims = { name: "kim", rooms: ["r"] };
  const socket = await connect(t, server, { room: "r" }, CLIENTS[0], { auth: (give) => give({ token: token(claims) }) });
  const again = async () => {
    const back = new Promise((done) => socket.once("connect", done));
    socket.io.engine.transport.ws.terminate();
    await soon("its return", back);
    return socket.recovered;
  };
  await ask(socket, "join_room", { type: 1 });
  await ask(socket, "chatting", "x");
  assert.equal(await again(), true);
  claims.rooms = ["other"];
  assert.equal(await again(), false, "not in that room any more");
  const other = await connect(t, server, { room: "r" }, CLIENTS[0], { auth: { token: token({ name: "lee", rooms: ["r"] }) } });
  await ask(other, "join_room", { type: 1 });
  await ask(other, "chatting", "secret");
  assert.deepEqual((await heardByNow(socket)).filter(([, { msg }]) => msg === "secret"), []);
  claims.rooms = ["r"];
  await again();
  await ask(socket, "join_room", { type: 1 });
  claims.name = "lee";
  assert.equal(await again(), false, "somebody else");
});

test("keys of every kind, and new ones without a restart", async (t) => {
  const pairs = { EdDSA: generateKeyPairSync("ed25519"), ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }), RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }) };
  const jwk = (alg) => ({ ...pairs[alg].publicKey.export({ format: "jwk" }), kid: alg, alg, use: "sig" });
  const file = await secret(t, JSON.stringify({ keys: Object.keys(pairs).map(jwk) }));
  const server = await supervise(t, "web", "watch = false", section(file));
  const enter = (alg, claims = {}, kid = alg) =>
    connect(t, server, { room: "r" }, CLIENTS[0], { auth: { token: token({ name: alg, rooms: ["r"], ...claims }, { alg, kid, key: pairs[alg].privateKey }) } });
  const inside = [];
  for (const alg of Object.keys(pairs)) inside.push(await enter(alg), await enter(alg, {}, undefined));
  // The public key is no secret, and none to sign with.
  const pem = pairs.EdDSA.publicKey.export({ type: "spki", format: "pem" });
  assert.match(await denied(t, server, { auth: { token: token({ name: "x" }, { key: pem }) } }), /not signed/);
  const { pid } = await server.status();
  const replace = async (text) => {
    await writeFile(`${file}.new`, text);
    await rename(`${file}.new`, file);
  };
  const log = () => readFile(join(server.dir, "state/logs/chatting.log"), "utf8");
  await replace("{ nonsense");
  await until("a line about it", async () => /new keys are not used.*JWKS/.test(await log()));
  inside.push(await enter("EdDSA"));
  for (const [alg, gone] of [["ES256", "EdDSA"], ["RS256", "ES256"]]) {
    await replace(pairs[alg].publicKey.export({ type: "spki", format: "pem" }));
    await until("the key to be gone", async () => {
      const socket = CLIENTS[0].library(server.url, { transports: ["websocket"], forceNew: true, reconnection: false, auth: { token: token({ name: "x" }, { alg: gone, key: pairs[gone].privateKey }) } });
      return soon("an answer", new Promise((done) => socket.on("connect", () => done(false)).on("connect_error", () => done(true)))).finally(() => socket.close());
    });
    inside.push(await enter(alg));
  }
  assert.deepEqual([(await server.status()).pid, inside.every((socket) => socket.connected)], [pid, true], "those inside stay");
  assert.ok((await server.status()).turned_away.auth > 0);
  // No secret, and no token, in what is written or shown.
  const shown = [await log(), JSON.stringify(await server.status()), server.log, (await promisify(execFile)("ps", ["axww"])).stdout].join("\n");
  assert.doesNotMatch(shown, /eyJ/);
});

test("how many under one name counts by the token", async (t) => {
  const server = await serve(t, "web", `${section(await secret(t))}\n[limits]\nmax_connections_per_name = 1\n`);
  const auth = (name) => ({ auth: { token: token({ name, rooms: ["r"] }) } });
  await connect(t, server, { room: "r" }, CLIENTS[0], auth("kim"));
  assert.match(await denied(t, server, auth("kim")), /under this name/);
  await connect(t, server, { room: "r" }, CLIENTS[0], auth("lee"));
});

/** The README's example in this language. */
async function example(language) {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const blocks = [...readme.matchAll(/```(\w+)\n([^]*?)```/g)].filter(([, name, code]) => name === language && code.includes("chat_token"));
  assert.equal(blocks.length, 1, language);
  return blocks[0][2];
}

const has = (program) => {
  try {
    return Boolean(execFileSync(program, ["--version"]));
  } catch {
    return false;
  }
};

for (const [language, program, args, show] of [
  ["js", process.execPath, ["--input-type=module"], (code) => `${code}\nconsole.log(chat_token({ name: "김가 b&+", rooms: ["r"] }, ${JSON.stringify(SECRET)}));`],
  ["php", "php", [], (code) => `${code}\necho chat_token(['name' => '김가 b&+', 'rooms' => ['r']], ${JSON.stringify(SECRET)});`],
]) {
  test(`the README's example for ${language}`, { skip: !has(program) && `there is no ${program}` }, async (t) => {
    const code = show(await example(language));
    const issued = execFileSync(program, args, { input: code }).toString().trim();
    const server = await serve(t, "web", section(await secret(t, `${SECRET}\n`)));
    const socket = await connect(t, server, { room: "r" }, CLIENTS[0], { auth: { token: issued } });
    assert.equal((await ask(socket, "join_room", { type: 0 })).ok, true);
    assert.equal((await hear(socket))[0][1].msg, "김가 b&+ 님이 입장하셨습니다.");
  });
}
