// A restart that nobody notices: established connections go to the next server.
// CHATCTL_HANDOVERS=100 is the long form.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { crowd, judge, knock } from "./crowd.mjs";
import { CLIENTS, program, supervise, until } from "./helpers.mjs";

const HANDOVERS = Number(process.env.CHATCTL_HANDOVERS ?? 5);
const KEYS = 'min_uptime = "50ms"';

/** What came of it, and what was said; people talk on meanwhile. */
const reload = (server) => new Promise((done) => execFile(program, ["reload"], { cwd: server.dir }, (error, out, err) => done({ code: error?.code ?? 0, said: out + err })));

for (const client of [CLIENTS[0], CLIENTS[2], CLIENTS[3], CLIENTS[5]]) {
  test(`${HANDOVERS} times through ${client.label} nobody notices anything`, { timeout: 600_000 }, async (t) => {
    const server = await supervise(t, "web", KEYS);
    const refused = knock(t, server);
    const [sockets, record] = await crowd(t, server, client);
    const ids = sockets.map((socket) => socket.id);
    const pids = new Set();
    for (let n = 0; n < HANDOVERS; n += 1) {
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
    t.diagnostic(JSON.stringify(result));
    assert.equal(pids.size, HANDOVERS);
    const { disconnects, unheard, missed, twice, disordered } = result;
    assert.deepEqual({ disconnects, unheard, missed, twice, disordered }, { disconnects: 0, unheard: 0, missed: 0, twice: 0, disordered: 0 }, `${JSON.stringify(result)}\n${server.log}`);
    assert.deepEqual(sockets.map((socket) => socket.id), ids);
    assert.deepEqual(refused, []);
  });
}
