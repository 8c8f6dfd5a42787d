// Half-open connections, as networks make them: a packet filter swallows all that goes to and from an address, and
// neither side is told. In a network namespace of its own, so that it needs no privileges and disturbs nobody.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { Agent } from "node:http";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { CLIENTS, ask, connect, soon, supervise, until } from "./helpers.mjs";

const KEYS = 'min_uptime = "500ms"\nrestart_delay = "1ms"';
const messages = (socket) => socket.heard.filter(([, { type }]) => type === "chat").map(([, { msg }]) => msg);
const notices = (socket) => socket.heard.filter(([, { type }]) => type === "notice").map(([, { msg }]) => msg);

/** The network as root of a namespace sees it; the filter has a table, and nothing in it. */
const PREPARE = "ip link set lo up && nft add table ip half && nft 'add chain ip half input { type filter hook input priority 0; }'";

function outside() {
  const { status, stderr, error } = spawnSync("unshare", ["-rn", "sh", "-c", PREPARE], { encoding: "utf8" });
  const skip = status !== 0 && `needs namespaces, ip and nft: ${(stderr || String(error)).trim()}`;
  test("half-open connections, in a network of their own", { skip, timeout: 400_000 }, async (t) => {
    // What is under way on a lost address never ends: hence the forced exit.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const inside = spawn("unshare", ["-rn", "sh", "-c", `${PREPARE} && exec node --test --test-force-exit ${fileURLToPath(import.meta.url)}`],
      { env: { ...env, CHATCTL_INSIDE: "1" }, stdio: ["ignore", "pipe", "inherit"] });
    let log = "";
    inside.stdout.setEncoding("utf8").on("data", (text) => (log += text));
    assert.equal(await new Promise((end) => inside.on("exit", end)), 0, log);
    t.diagnostic(/# pass \d+/.exec(log)[0]);
  });
}

/** A network of one address, for a client's options; it can be lost. */
const from = (localAddress) => ({ agent: new Agent({ localAddress }) });
const lose = (address) => ["saddr", "daddr"].forEach((way) =>
  assert.equal(spawnSync("nft", ["add", "rule", "ip", "half", "input", "ip", way, address, "drop"]).status, 0));

/** Gives up the connection, of which the server hears nothing, and comes back from another address. */
async function moves(socket, address) {
  const back = new Promise((done) => socket.once("connect", done));
  Object.assign(socket.io.opts, from(address));
  const { transport } = socket.io.engine;
  if (transport.ws) transport.ws.terminate();
  else transport.onError("the network has changed");
  await soon("the return", back);
}

async function pair(t, server, options, client) {
  const near = await connect(t, server, { name: "near", room: "r" });
  const far = await connect(t, server, { name: "far", room: "r" }, client, options);
  for (const socket of [near, far]) await ask(socket, "join_room", { type: 1 });
  return [near, far];
}

function inside() {
  for (const client of CLIENTS.slice(0, 3)) {
    test(`a phone that changes its network misses nothing (${client.label})`, async (t) => {
      const server = await supervise(t, "web", KEYS);
      const n = CLIENTS.indexOf(client);
      const [near, far] = await pair(t, server, from(`127.0.${n}.2`), client);
      await ask(near, "chatting", 1);
      await until("the message", () => messages(far).length === 1);
      lose(`127.0.${n}.2`);
      for (const said of [2, 3]) assert.equal((await ask(near, "chatting", said)).ok, true);
      await moves(far, `127.0.${n}.3`);
      assert.equal(far.recovered, true);
      await ask(far, "chatting", 4);
      await until("all messages", () => messages(far).length >= 4);
      assert.deepEqual(messages(far), [1, 2, 3, 4]);
      await until("the last message", () => messages(near).length === 4);
      assert.equal(near.heard.at(-1)[1].view, 2, "it counts once");
    });
  }

  test("a flood into a connection that is gone holds up nobody, and all of it is there on the return", async (t) => {
    const server = await supervise(t, "web", KEYS, "[limits]\nmax_queue = 128\nmessages_per_second = 0\n");
    const [near, far] = await pair(t, server, from("127.0.8.2"));
    lose("127.0.8.2");
    const text = "x".repeat(4096);
    let said = 0;
    const closed = async () => (await server.status())?.slow_closed > 0;
    while (!(await closed())) {
      await Promise.all(Array.from({ length: 100 }, () => ask(near, "chatting", `${(said += 1)} ${text}`)));
    }
    await moves(far, "127.0.8.3");
    await until("all messages", () => messages(far).length >= said);
    assert.deepEqual(messages(far).map((msg) => Number.parseInt(msg)), Array.from({ length: said }, (_, n) => n + 1));
    assert.equal(far.recovered, true);
  });

  test("who does not come back from there is missed by the heartbeat, and announced when the grace is over", async (t) => {
    const server = await supervise(t, "local", KEYS, '[recovery]\nleave_grace = "1s"\n');
    const [near] = await pair(t, server, { ...from("127.0.9.2"), reconnection: false });
    await until("both notices", () => notices(near).length === 2);
    lose("127.0.9.2");
    await until("the notice", () => notices(near).length === 3);
    assert.equal(notices(near)[2], "far님이 퇴장하셨습니다.");
    assert.equal(near.heard.at(-1)[1].size, 1);
  });
}

if (process.env.CHATCTL_INSIDE) inside();
else outside();
