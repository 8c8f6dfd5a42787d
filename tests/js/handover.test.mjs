// A restart that nobody notices: established connections go to the next server.
// CHATCTL_HANDOVERS=100 and CHATCTL_FAULTS=50 are the long forms; CHATCTL_SEED repeats a run of faults.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { Agent, get as plainGet } from "node:http";
import { Agent as SecureAgent, get as secureGet } from "node:https";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { crowd, judge, knock, newcomers, readers } from "./crowd.mjs";
import { PROXIES, behind } from "./proxies.mjs";
import { CLIENTS, ask, connect, program, random, run, secured, soon, supervise, until } from "./helpers.mjs";

const HANDOVERS = Number(process.env.CHATCTL_HANDOVERS ?? 5);
const FAULTS = Number(process.env.CHATCTL_FAULTS ?? 8);
const SEED = Number(process.env.CHATCTL_SEED ?? Date.now() % 1_000_000);
const KEYS = 'min_uptime = "50ms"\nrestart_delay = "1ms"';
const WEBSOCKETS = CLIENTS.filter(({ transports }) => transports.includes("websocket"));
const UNNOTICED = { disconnects: 0, unheard: 0, missed: 0, twice: 0, disordered: 0 };

/** What came of it, and what was said; people talk on meanwhile. */
const order = (server, what) => new Promise((done) => execFile(program, [what], { cwd: server.dir }, (error, out, err) => done({ code: error?.code ?? 0, said: out + err })));
const reload = (server) => order(server, "reload");

/** Reloads so often, at moments of chance, while people talk; nobody may notice. */
async function unnoticed(server, sockets, record, times = HANDOVERS) {
  const ids = sockets.map((socket) => socket.id);
  const pids = new Set([(await server.status()).pid]);
  for (let n = 0; n < times; n += 1) {
    const already = record.said;
    await until("some talk", () => record.said > already + Math.random() * 100);
    const { code, said } = await reload(server);
    assert.equal(code, 0, `${said}\n${server.log}`);
    const { pid, handover } = await until("the new server's word", async () => {
      const app = await server.status();
      return app?.handover && !pids.has(app.pid) && app;
    });
    pids.add(pid);
    assert.deepEqual([handover.connections, handover.goodbyes, handover.cut], [sockets.length, 0, 0]);
  }
  await record.stop();
  const result = judge(sockets, record);
  const { disconnects, unheard, missed, twice, disordered } = result;
  assert.deepEqual({ disconnects, unheard, missed, twice, disordered }, UNNOTICED, `${JSON.stringify(result)}\n${server.log}`);
  assert.deepEqual(sockets.map((socket) => socket.id), ids);
  return result;
}

for (const client of WEBSOCKETS) {
  test(`${HANDOVERS} times through ${client.label} nobody notices anything`, { timeout: 600_000 }, async (t) => {
    const server = await supervise(t, "web", KEYS);
    const refused = knock(t, server);
    const [sockets, record] = await crowd(t, server, client);
    t.diagnostic(JSON.stringify(await unnoticed(server, sockets, record)));
    assert.deepEqual(refused, []);
  });
}

/** Servers to be reached by either. */
const WAYS = [["http", supervise], ["https", secured]];

for (const client of WEBSOCKETS) {
  test(`${HANDOVERS} times through ${client.label} by chatctl's own TLS, the same`, { timeout: 600_000 }, async (t) => {
    const server = await secured(t, "web", KEYS);
    const [sockets, record] = await crowd(t, server, client);
    t.diagnostic(JSON.stringify(await unnoticed(server, sockets, record)));
  });
}

/** Reloads so often while newcomers come by these ways; all of them must be let in. */
async function letIn(t, server, all) {
  for (let n = 0; n < HANDOVERS; n += 1) {
    const before = all[0].visits;
    await until("some visits", () => all[0].visits > before + Math.random() * 5);
    const { code, said } = await reload(server);
    assert.equal(code, 0, `${said}\n${server.log}`);
  }
  for (const record of all) await record.stop();
  t.diagnostic(`${all.map(({ visits }) => visits)} visits`);
  assert.deepEqual(all.flatMap(({ refused }) => refused), [], server.log);
}

test(`${HANDOVERS} times newcomers are let in, whatever they come by`, { timeout: 600_000 }, async (t) => {
  const server = await supervise(t, "web", KEYS);
  const kept = new Agent({ keepAlive: true });
  t.after(() => kept.destroy());
  await letIn(t, server, CLIENTS.flatMap((client) => [undefined, kept].map((agent) => newcomers(server, client, agent))));
});

test(`${HANDOVERS} times newcomers are let in by chatctl's own TLS as well`, { timeout: 600_000 }, async (t) => {
  const server = await secured(t, "web", KEYS);
  const kept = new SecureAgent({ ...server.options, keepAlive: true });
  t.after(() => kept.destroy());
  const all = CLIENTS.flatMap((client) => [undefined, kept].map((agent) => newcomers(server, client, agent)));
  await letIn(t, server, [...all, readers(server, kept), readers(server, false)]);
});

for (const proxy of PROXIES) {
  test(`behind ${proxy.name}, where TLS ends, the same`, { timeout: 1_200_000 }, async (t) => {
    if (!proxy.installed) return t.skip(`${proxy.name} is not installed`);
    const server = await supervise(t, "web", KEYS);
    const proxied = await behind(t, server, proxy);
    for (const client of HANDOVERS > 5 ? WEBSOCKETS : WEBSOCKETS.slice(0, 2)) {
      const [sockets, record] = await crowd(t, proxied, client, 10);
      t.diagnostic(`${client.label}: ${JSON.stringify(await unnoticed(proxied, sockets, record))}`);
      sockets.forEach((socket) => socket.close());
      await until("them to be gone", async () => (await server.status())?.connections === 0);
    }
    await letIn(t, proxied, CLIENTS.map((client) => newcomers(proxied, client)));
  });
}

/** A folder for `[page]` with one file of this size. */
async function page(t, size) {
  const dir = await mkdtemp(join(tmpdir(), "chatctl-page-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  await writeFile(join(dir, "large"), "");
  await truncate(join(dir, "large"), size);
  return `[page]\ndir = ${JSON.stringify(dir)}\n`;
}

/** The answer to a request for this file, of which nothing has been read yet. */
const begin = (server, path) => soon("an answer", new Promise((done, fail) => {
  const get = server.url.startsWith("https:") ? secureGet : plainGet;
  get(`${server.url}${path}`, { ...server.options, agent: false }, done).on("error", fail);
}));

for (const [way, start] of WAYS) {
  test(`a download that is under way comes to its end, by ${way}`, async (t) => {
    const size = 64 << 20;
    const server = await start(t, "web", `${KEYS}\nkill_timeout = "60s"`, await page(t, size));
    const { pid } = await server.status();
    const answer = await begin(server, "/large");
    const { code, said } = await reload(server);
    assert.equal(code, 0, said);
    assert.notEqual((await server.status()).pid, pid);
    assert.ok(servers(server.child.pid).includes(pid), "as long as it is under way its server stays");
    const socket = await connect(t, server, { name: "n", room: "r" });
    assert.equal((await ask(socket, "chatting", "meanwhile")).ok, true);
    let read = 0;
    for await (const bytes of answer) read += bytes.length;
    assert.equal(read, size);
    await until("its end", () => !servers(server.child.pid).includes(pid));
    assert.equal(socket.connected, true);
  });
}

test("one that nobody takes is cut when its server has had its time", async (t) => {
  const server = await supervise(t, "web", `${KEYS}\nkill_timeout = "300ms"`, await page(t, 64 << 20));
  const { pid } = await server.status();
  const answer = await begin(server, "/large");
  assert.equal((await reload(server)).code, 0, server.log);
  await until("its end", () => !servers(server.child.pid).includes(pid));
  await assert.rejects(async () => { for await (const _ of answer); }, /aborted/);
});

test("who polls is sent away without loss and recovers, the others go over", { timeout: 600_000 }, async (t) => {
  const server = await supervise(t, "web", KEYS);
  const listeners = await Promise.all(Array.from({ length: 6 }, (_, n) => connect(t, server, { name: `l${n}`, room: "r" })));
  for (const socket of listeners) await ask(socket, "join_room", { type: 1 });
  const [polling, record] = await crowd(t, server, CLIENTS[1], 6);
  let disconnects = 0;
  listeners.forEach((socket) => socket.on("disconnect", () => (disconnects += 1)));
  const back = polling.map((socket) => new Promise((done) => socket.once("connect", done)));
  assert.equal((await reload(server)).code, 0, server.log);
  await Promise.all(back);
  const { handover } = await until("its word", async () => {
    const app = await server.status();
    return app?.handover && app;
  });
  assert.deepEqual([handover.connections, handover.goodbyes, handover.cut], [6, 6, 0]);
  await record.stop();
  assert.equal(disconnects, 0);
  const { unheard, missed, twice, disordered, notRecovered } = judge([...polling, ...listeners], record);
  assert.deepEqual({ unheard, missed, twice, disordered, notRecovered }, { unheard: 0, missed: 0, twice: 0, disordered: 0, notRecovered: 0 });
});

test("a storm of messages at the very moment keeps its order", async (t) => {
  const server = await supervise(t, "web", KEYS);
  const [one, two] = await Promise.all(["one", "two"].map((name) => connect(t, server, { name, room: "r" })));
  for (const socket of [one, two]) await ask(socket, "join_room", { type: 1 });
  const heard = [];
  two.on("chatting", ({ msg }) => heard.push(msg));
  let acknowledged = 0;
  const reloaded = reload(server);
  for (let n = 0; n < 400; n += 1) {
    one.emit("chatting", n, () => (acknowledged += 1));
    if (n % 20 === 0) await new Promise((next) => setTimeout(next, 5));
  }
  assert.equal((await reloaded).code, 0, server.log);
  await until("all of them", () => heard.length === 400 && acknowledged === 400);
  assert.deepEqual(heard, Array.from({ length: 400 }, (_, n) => n));
});

/** The processes of the app's servers. */
const servers = (supervisor) => {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, "utf8").trim().split(/\s+/);
  return children.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[1] === "serve";
    } catch {
      return false;
    }
  }).map(Number);
};

const signal = (pid, name) => {
  try {
    process.kill(pid, name);
  } catch (error) {
    assert.equal(error.code, "ESRCH");
  }
};

/** Everybody comes back, and has missed nothing, whatever was done to the servers. */
async function nothingMissed(t, server, sockets, record, done) {
  await until("everybody", () => sockets.every((socket) => socket.connected));
  await record.stop();
  const result = judge(sockets, record);
  t.diagnostic(`${done.join(", ")}: ${JSON.stringify(result)}`);
  const { missed, twice, disordered, notRecovered } = result;
  assert.deepEqual({ missed, twice, disordered, notRecovered }, { missed: 0, twice: 0, disordered: 0, notRecovered: 0 }, `${done}\n${JSON.stringify(result)}\n${server.log}`);
}

for (const [way, start] of WAYS) {
  test(`${FAULTS} times one of the two dies or hangs in the middle, by ${way}: one goes on, and nothing is missed (seed ${SEED})`, { timeout: 900_000 }, async (t) => {
    const server = await start(t, "web", `${KEYS}\nmax_restarts = 1000`);
    const chance = random(SEED);
    const [sockets, record] = await crowd(t, server, CLIENTS[0]);
    const done = [];
    for (let n = 0; n < FAULTS; n += 1) {
      const { pid } = await until("a server", async () => {
        const app = await server.status();
        return app?.state === "online" && sockets.every((socket) => socket.connected) && app;
      });
      const reloaded = reload(server);
      const next = await until("the next one", () => servers(server.child.pid).find((other) => other !== pid));
      // It begins, looks who is spoken to, and then is quick.
      await new Promise((go) => setTimeout(go, chance() * 500));
      const [who, what] = [chance() < 0.5 ? pid : next, chance() < 0.6 ? "SIGKILL" : "SIGSTOP"];
      done.push(`${what} ${who === pid ? "old" : "new"}`);
      signal(who, what);
      if (what === "SIGSTOP") {
        await new Promise((go) => setTimeout(go, chance() * 1000));
        signal(who, "SIGCONT");
      }
      await reloaded;
    }
    await until("one healthy server", async () => {
      const app = await server.status();
      return app?.state === "online" && app.health === "ok" && servers(server.child.pid).length === 1;
    }).catch((error) => assert.fail(`${error}\n${done}\n${server.log}`));
    await nothingMissed(t, server, sockets, record, done);
  });
}

test(`${FAULTS} times a reload meets a recovery or a drain: nothing is missed (seed ${SEED})`, { timeout: 900_000 }, async (t) => {
  const server = await supervise(t, "web", `${KEYS}\nmax_restarts = 1000`);
  const chance = random(SEED);
  const [sockets, record] = await crowd(t, server, CLIENTS[0]);
  const done = [];
  for (let n = 0; n < FAULTS; n += 1) {
    const online = () => until("a server", async () => {
      const app = await server.status();
      return app?.state === "online" && app;
    });
    const { pid } = await online();
    await until("everybody", () => sockets.every((socket) => socket.connected));
    if (n % 2 === 0) {
      signal(pid, "SIGKILL");
      await until("the next server", async () => (await online()).pid !== pid);
      await new Promise((go) => setTimeout(go, chance() * 300));
      done.push(`recovery: ${(await reload(server)).code}`);
    } else {
      const restarted = order(server, "restart");
      await new Promise((go) => setTimeout(go, chance() * 300));
      done.push(`drain: ${(await reload(server)).code}`);
      await restarted;
    }
  }
  await nothingMissed(t, server, sockets, record, done);
});

test("the supervisor dies in the middle: the next one finds one server, and nobody notices", { timeout: 600_000 }, async (t) => {
  const server = await supervise(t, "web", KEYS);
  const chance = random(SEED);
  const [sockets, record] = await crowd(t, server, CLIENTS[0]);
  let supervisor = server;
  for (let n = 0; n < 3; n += 1) {
    const { pid } = await until("a server", async () => {
      const app = await server.status();
      return app?.state === "online" && app;
    });
    void reload(server);
    const before = supervisor.child.pid;
    await until("the next one", () => servers(before).find((other) => other !== pid));
    await new Promise((go) => setTimeout(go, chance() * 500));
    signal(before, "SIGKILL");
    await supervisor.ended;
    supervisor = run(t, server.dir, ["supervise"]);
  }
  await until("one healthy server", async () => {
    const app = await server.status();
    return app?.state === "online" && app.health === "ok";
  }).catch((error) => assert.fail(`${error}\n${supervisor.log}`));
  await record.stop();
  const result = judge(sockets, record);
  t.diagnostic(JSON.stringify(result));
  const { disconnects, unheard, missed, twice, disordered } = result;
  assert.deepEqual({ disconnects, unheard, missed, twice, disordered }, UNNOTICED, `${JSON.stringify(result)}\n${supervisor.log}`);
});
