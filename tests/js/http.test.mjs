// What is served besides the chat: the browser client, the page, health; and who may connect from elsewhere.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { join } from "node:path";
import { serve } from "./helpers.mjs";

test("the browser client is the one of npm, with its types, tags and codings", async (t) => {
  const server = await serve(t);
  for (const name of ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"]) {
    const answer = await fetch(`${server.url}/socket.io/${name}`);
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get("content-type"), /^(application|text)\/javascript/);
    assert.match(answer.headers.get("content-encoding"), /br|gzip/);
    assert.ok(answer.headers.get("cache-control"));
    const text = await answer.text();
    assert.match(text, /Socket\.IO v4\.8\.\d/);
    assert.equal(text, await readFile(new URL(`node_modules/socket.io-client/dist/${name}`, import.meta.url), "utf8"));
    const known = { headers: { "if-none-match": answer.headers.get("etag") } };
    assert.equal((await fetch(`${server.url}/socket.io/${name}`, known)).status, 304);
    const map = await fetch(`${server.url}/socket.io/${name}.map`);
    assert.match(map.headers.get("content-type"), /json/);
    assert.ok((await map.json()).sources.length > 0);
  }
});

test("health, and the page with its guard", async (t) => {
  const server = await serve(t);
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  for (const path of ["/", "/room?room=a&name=b"]) {
    const page = await fetch(server.url + path);
    assert.match(page.headers.get("content-type"), /text\/html/);
    assert.match(page.headers.get("content-security-policy"), /default-src 'self'/);
  }
  assert.deepEqual(await (await fetch(`${server.url}/page/config.json`)).json(), { profile: "local" });
});

test("the page can be switched off, or be the operator's own", async (t) => {
  const off = await serve(t, "local", "[page]\nenabled = false\n");
  assert.equal((await fetch(`${off.url}/`)).status, 404);
  assert.equal((await fetch(`${off.url}/socket.io/socket.io.js`)).status, 200);
  const dir = await mkdtemp(join(tmpdir(), "chatctl-page-"));
  t.after(() => rm(dir, { recursive: true }));
  await mkdir(join(dir, "public"));
  await writeFile(join(dir, "public/room.html"), "my own room");
  await writeFile(join(dir, "public/.env"), "secret");
  const own = await serve(t, "local", `[page]\ndir = ${JSON.stringify(join(dir, "public"))}\n`);
  assert.equal(await (await fetch(`${own.url}/room?room=a`)).text(), "my own room");
  assert.equal((await fetch(`${own.url}/.env`)).status, 404);
  await writeFile(join(dir, "chat.toml"), "not for everybody");
  assert.equal((await fetch(`${own.url}/%2e%2e/chat.toml`)).status, 404);
});

test("pages of other origins may connect, or only those named", async (t) => {
  const handshake = "/socket.io/?EIO=4&transport=polling";
  const from = (origin) => ({ headers: { origin } });
  const any = await serve(t);
  const answer = await fetch(any.url + handshake, from("https://php.example"));
  assert.ok(["*", "https://php.example"].includes(answer.headers.get("access-control-allow-origin")));
  const some = await serve(t, "local", '[cors]\norigins = ["https://php.example"]\n');
  const allowed = await fetch(some.url + handshake, from("https://php.example"));
  assert.equal(allowed.headers.get("access-control-allow-origin"), "https://php.example");
  const other = await fetch(some.url + handshake, from("https://evil.example"));
  assert.equal(other.headers.get("access-control-allow-origin"), null);
});
