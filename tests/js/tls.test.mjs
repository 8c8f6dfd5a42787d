// TLS: real clients over https and wss, both protocol versions, and certificates that change while people talk.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import tls from "node:tls";
import { promisify } from "node:util";
import { CLIENTS, ask, certificate, connect, hear, serve, soon, supervise, until } from "./helpers.mjs";

const call = promisify(execFile);

async function folder(t) {
  const dir = await mkdtemp(join(tmpdir(), "chatctl-tls-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** What stands in the certificate of whoever answers there, and how they agreed. */
const peer = (port, options = {}) =>
  soon("a TLS handshake", new Promise((done, fail) => {
    const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["http/1.1"], ...options }, () => {
      done({ name: socket.getPeerCertificate().subject.CN, version: socket.getProtocol(), alpn: socket.alpnProtocol });
      socket.destroy();
    });
    socket.on("error", fail);
  }));

const keys = ({ cert, key }) => `tls = { cert = ${JSON.stringify(cert)}, key = ${JSON.stringify(key)} }`;

test("real clients talk over https and wss", async (t) => {
  const dir = await folder(t);
  const files = await certificate(dir, "one");
  const server = await serve(t, "local", keys(files));
  assert.match(server.url, /^https:/);
  const ca = await readFile(files.cert);
  for (const client of CLIENTS) {
    const options = { ca, agent: undefined };
    const [a, b] = await Promise.all(["a", "b"].map((name) => connect(t, server, { name, room: client.label }, client, options)));
    for (const socket of [a, b]) await ask(socket, "join_room", { type: 1 });
    a.heard.length = b.heard.length = 0;
    for (let n = 0; n < 200; n += 1) a.emit("chatting", `${n} ${"x".repeat(n * 10)}`);
    const heard = await hear(b, 200);
    assert.deepEqual(heard.map(([, { msg }]) => Number(msg.split(" ")[0])), Array.from({ length: 200 }, (_, n) => n), client.label);
    [a, b].forEach((socket) => socket.close());
  }
  const { stdout } = await call("curl", ["-sS", "--cacert", files.cert, `https://localhost:${server.port}/healthz`]);
  assert.equal(stdout, "ok\n");
});

test("TLS 1.2 and 1.3 with HTTP/1.1, nothing older and nothing else", async (t) => {
  const server = await serve(t, "local", keys(await certificate(await folder(t), "one")));
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    assert.deepEqual(await peer(server.port, { minVersion: version, maxVersion: version }), { name: "one", version, alpn: "http/1.1" });
  }
  await assert.rejects(peer(server.port, { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }));
  await assert.rejects(peer(server.port, { ALPNProtocols: ["h2"] }));
  const { stdout } = await call("sh", ["-c", `openssl s_client -connect 127.0.0.1:${server.port} -tls1_2 </dev/null 2>&1; openssl s_client -connect 127.0.0.1:${server.port} -tls1_3 </dev/null 2>&1`]);
  assert.match(stdout, /Protocol *: TLSv1\.2[\s\S]*TLSv1\.3/);
  // Who speaks no TLS is told in its own words, or not at all; the server stays.
  await assert.rejects(fetch(`http://127.0.0.1:${server.port}/healthz`));
  assert.equal((await peer(server.port)).name, "one");
});

test("a new certificate is in force with the next connection; a bad one changes nothing", async (t) => {
  const dir = await folder(t);
  const [one, two, three] = [await certificate(dir, "one"), await certificate(dir, "two"), await certificate(dir, "three", 90)];
  const live = { cert: join(dir, "live.pem"), key: join(dir, "live.key") };
  // As certbot has it: links that are replaced.
  const point = async (files) => {
    for (const what of ["cert", "key"]) {
      await symlink(files[what], `${live[what]}.new`);
      await rename(`${live[what]}.new`, live[what]);
    }
  };
  await point(one);
  const server = await supervise(t, "local", `${keys(live)}\nwatch = false`);
  const { pid, certificate: first } = await until("its certificate in status", async () => {
    const app = await server.status();
    return app?.certificate && app;
  });
  assert.ok(first.expires_in_s > 29 * 86400 && first.expires_in_s < 31 * 86400, JSON.stringify(first));
  const port = new URL(server.url).port;
  const talker = await connect(t, { url: `https://127.0.0.1:${port}` }, { name: "n", room: "r" }, CLIENTS[0], { rejectUnauthorized: false });
  const lost = [];
  talker.on("disconnect", (reason) => lost.push(reason));
  await point(two);
  await until("the new certificate", async () => (await peer(port)).name === "two");
  // The key of another, and then nonsense: the old one stays, and the log says why.
  await writeFile(`${live.cert}.new`, await readFile(one.cert));
  await rename(`${live.cert}.new`, live.cert);
  const log = () => readFile(join(server.dir, "state/logs/chatting.log"), "utf8");
  await until("a line about the wrong key", async () => /not used.*is not the key of/.test(await log()));
  await writeFile(live.cert, "nonsense");
  await until("a line about nonsense", async () => /not used.*there is no certificate in it/.test(await log()));
  assert.equal((await peer(port)).name, "two");
  await until("a word about it in status", async () => /there is no certificate in it/.test((await server.status()).not_used));
  await point(three);
  await until("the third", async () => (await peer(port)).name === "three");
  await until("its expiry in status", async () => (await server.status()).certificate.expires_in_s > 80 * 86400);
  const after = await server.status();
  assert.deepEqual(after.not_used, []);
  assert.deepEqual([after.pid, after.restarts, after.health, lost], [pid, 0, "ok", []]);
  assert.equal((await ask(talker, "chatting", "still here")).ok, true);
  const { stdout } = await call(process.env.CHATCTL_BIN ?? new URL("../../target/debug/chatctl", import.meta.url).pathname, ["status"], { cwd: server.dir });
  assert.match(stdout, /its certificate expires on 20\d\d-\d\d-\d\d, in 8\d days/);
});

test("a restart over TLS loses nothing either", async (t) => {
  const files = await certificate(await folder(t), "one");
  const server = await supervise(t, "web", keys(files));
  const options = { rejectUnauthorized: false };
  const [a, b] = await Promise.all(["a", "b"].map((name) => connect(t, { url: server.url.replace("http", "https") }, { name, room: "r" }, CLIENTS[0], options)));
  for (const socket of [a, b]) await ask(socket, "join_room", { type: 1 });
  let said = 0;
  const talking = setInterval(() => a.emit("chatting", said++), 3);
  t.after(() => clearInterval(talking));
  for (let n = 0; n < 3; n += 1) {
    const back = [a, b].map((socket) => new Promise((done) => socket.once("connect", done)));
    process.kill((await server.status()).pid, "SIGTERM");
    await soon("both to be back", Promise.all(back));
    assert.deepEqual([a.recovered, b.recovered], [true, true]);
    await until("a stable server", async () => (await server.status())?.state === "online");
  }
  clearInterval(talking);
  await until("the last word", () => b.heard.length >= said);
  assert.deepEqual(b.heard.map(([, { msg }]) => msg), Array.from({ length: said }, (_, n) => n));
});

test("a certificate that cannot be used is said at the start", async (t) => {
  const dir = await folder(t);
  const { cert } = await certificate(dir, "one");
  const { key } = await certificate(dir, "two");
  await assert.rejects(serve(t, "local", keys({ cert, key })), /is not the key of/);
  await assert.rejects(serve(t, "local", keys({ cert: join(dir, "none"), key })), /none: No such file/);
});
