// Everything at once: deaths, hangs, growth, changes, reloads and orders, of child, supervisor and keeper, while
// clients chat. CHATCTL_CHAOS=600 is the long run, in seconds; CHATCTL_SEED repeats one.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { connect as dial } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { CLIENTS, connect, program, random, run, soon, supervise, until } from "./helpers.mjs";

const SECONDS = Number(process.env.CHATCTL_CHAOS ?? 25);
const SEED = Number(process.env.CHATCTL_SEED ?? Date.now() % 1_000_000);

/** Processes that have something of this folder open, or run in it. */
function processesOf(dir) {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const said = readFileSync(`/proc/${pid}/cmdline`, "utf8") + readFileSync(`/proc/${pid}/environ`, "utf8");
      return said.includes(dir) || readlinkSync(`/proc/${pid}/cwd`) === dir;
    } catch {
      return false;
    }
  });
}

const children = (pid) => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(/\s+/).filter(Boolean).map(Number);
  } catch {
    return [];
  }
};
const named = (pid, name) => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim() === name;
  } catch {
    return false;
  }
};

/** Asks until it is answered: an order that nobody waited for may still be at work, and take an answer with it. */
const answered = (socket, ...event) =>
  until(`an answer to ${event[0]}`, () => new Promise((done) => {
    if (!socket.connected) return done(false);
    socket.once("disconnect", () => done(false));
    socket.emit(...event, (answer) => done(answer.ok));
  }));

test(`${SECONDS} s of chaos end with one healthy server and nothing left over (seed ${SEED})`, { timeout: (SECONDS + 240) * 1000 }, async (t) => {
  const chance = random(SEED);
  const server = await supervise(
    t,
    "local",
    'watch = ["watched"]\nwatch_delay = "100ms"\nmin_uptime = "500ms"\nmax_memory_restart = "150M"\nexp_backoff_restart_delay = "20ms"\nkill_timeout = "1s"',
    '[limits]\nmax_queue_bytes = "1G"\n',
  );
  const { dir, port } = { dir: server.dir, port: Number(new URL(server.url).port) };
  const toml = readFileSync(join(dir, "chat.toml"), "utf8");
  let supervisor = server;
  const signal = (pid, name) => {
    try {
      process.kill(pid, name);
    } catch (error) {
      assert.equal(error.code, "ESRCH");
    }
  };
  const order = (...args) => new Promise((done) => execFile(program, args, { cwd: dir }, (error, out, err) => done({ code: error?.code ?? 0, said: out + err })));

  // Whoever connects is never refused, whatever happens.
  let connects = 0;
  const refused = [];
  const knocking = setInterval(() => {
    const socket = dial(port, "127.0.0.1", () => { connects += 1; socket.destroy(); });
    socket.on("error", (error) => error.code === "ECONNREFUSED" && refused.push(new Date().toISOString()));
  }, 5);
  t.after(() => clearInterval(knocking));

  // Clients of all kinds, who come back by themselves and go on.
  const sockets = await Promise.all(CLIENTS.map((client, n) => connect(t, server, { name: `n${n}`, room: "r" }, client)));
  for (const socket of sockets) {
    socket.on("connect", () => socket.emit("join_room", { type: 1 }));
    socket.emit("join_room", { type: 1 });
  }
  const chatting = setInterval(() => sockets.forEach((socket) => socket.connected && socket.emit("chatting", "x")), 20);
  t.after(() => clearInterval(chatting));

  const child = async () => (await server.status())?.pid;
  const strikes = {
    kill: async () => { const pid = await child(); if (pid) signal(pid, "SIGKILL"); },
    crash: async () => { const pid = await child(); if (pid) signal(pid, "SIGSEGV"); },
    stop: async () => { const pid = await child(); if (pid) signal(pid, "SIGTERM"); },
    hang: async () => { const pid = await child(); if (pid) signal(pid, "SIGSTOP"); },
    file: async () => writeFile(join(dir, "watched"), String(chance())),
    reload: async () => order("reload"),
    "reload, not waited for": async () => void order("reload"),
    restart: async () => order("restart"),
    "stop and start": async () => { await order("stop"); await order("start"); },
    hup: async () => signal(supervisor.child.pid, "SIGHUP"),
    "bad chat.toml": async () => {
      await writeFile(join(dir, "chat.toml"), `${toml}\n[nonsense]\n`);
      assert.equal((await order("reload")).code, 1);
      await writeFile(join(dir, "chat.toml"), toml);
    },
    memory: async () => {
      const [deaf, sender] = await Promise.all(["deaf", "sender"].map((name) =>
        connect(t, server, { name, room: "m" })));
      const over = new Promise((gone) => sender.once("disconnect", gone));
      deaf.emit("join_room", { type: 1 });
      deaf.io.engine.transport.ws?._socket.pause();
      const payload = "x".repeat(900_000);
      const growth = setInterval(() => sender.connected && sender.emit("chatting", payload), 10);
      if (sender.connected) await over;
      clearInterval(growth);
      sender.close();
      // It does not read: it would wait long for an answer to its farewell.
      deaf.io.engine.transport.ws?._socket?.destroy();
      deaf.close();
    },
    keeper: async () => children(supervisor.child.pid).filter((pid) => named(pid, "chatctl-keep")).forEach((pid) => signal(pid, "SIGKILL")),
    supervisor: async () => {
      signal(supervisor.child.pid, "SIGKILL");
      await supervisor.ended;
      const earlier = supervisor.log;
      supervisor = run(t, dir, ["supervise"]);
      supervisor.log = earlier;
    },
  };
  await writeFile(join(dir, "watched"), "");
  const descriptors = () => readdirSync(`/proc/${supervisor.child.pid}/fd`).length;
  const end = Date.now() + SECONDS * 1000;
  const done = [];
  while (Date.now() < end) {
    const names = Object.keys(strikes);
    const name = names[Math.floor(chance() * names.length)];
    done.push(name);
    await soon(name, strikes[name]());
    await new Promise((next) => setTimeout(next, chance() * 700));
  }

  const told = () => `seed ${SEED}: ${done.join(", ")}\n${supervisor.log}`;
  const well = await until("a healthy server", async () => {
    const app = await server.status();
    return app?.state === "online" && app.health === "ok" && app;
  }).catch((error) => assert.fail(`${error}\n${told()}`));
  for (const socket of sockets) {
    await answered(socket, "join_room", { type: 1 });
    await answered(socket, "chatting", "after all");
  }
  assert.deepEqual(refused, [], told());
  assert.ok(connects > SECONDS * 20, `${connects} connects`);
  // One server, one keeper, one supervisor; the descriptors of a fresh one and no more.
  await until("only what is needed to run", () => processesOf(dir).length === 3).catch(() => assert.fail(`${processesOf(dir)}\n${told()}`));
  assert.ok(descriptors() < 60, `${readdirSync(`/proc/${supervisor.child.pid}/fd`).length} descriptors`);
  // The last of the others has only just ended: the supervisor clears up after it.
  const leftover = () => readdirSync(join(dir, "state/run")).filter((name) => name.endsWith(".notify"));
  await until("one readiness socket", () => leftover().length === 1).catch(() => assert.fail(`${leftover()}\n${told()}`));
  assert.ok(well.restarts >= 0);
  t.diagnostic(`${done.length} strikes, ${connects} connects, none refused`);

  clearInterval(knocking);
  sockets.forEach((socket) => socket.close());
  assert.equal((await order("shutdown")).code, 0);
  await until("all processes to be gone", () => processesOf(dir).length === 0).catch(() => assert.fail(`${processesOf(dir)}\n${told()}`));
  assert.equal((await order("status")).code, 3);
});
