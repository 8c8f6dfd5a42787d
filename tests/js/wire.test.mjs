// What clients see, row by row, for every profile, client generation and transport.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIENTS, ask, connect, hear, heardByNow, serve } from "./helpers.mjs";

/** What differs between the profiles. */
const PROFILES = {
  local: { entered: (n) => `${n}님이 입장하셨습니다.`, left: (n) => `${n}님이 퇴장하셨습니다.`, out: (sender) => `${sender}님을 강퇴시켰습니다.` },
  web: { entered: (n) => `${n} 님이 입장하셨습니다.`, left: (n) => `${n} 님이 퇴장하셨습니다.`, out: (_, named) => `${named} 님을 챗방에서 내보냈습니다.` },
  react: { entered: (n) => `${n} 님이 입장하셨습니다.`, left: (n) => `${n} 님이 퇴장하셨습니다.`, out: (_, named) => `${named} 님을 챗방에서 내보냈습니다.` },
};
const MESSAGES = ["안녕 😀", "", 0, 1.5, null, true, ["a", [1]], { b: { c: null } }, "\u0000", "\u2028<b>&\"", 12345678901234];
const notice = (msg, size) => ["chatting", { msg, type: "notice", size }];

for (const [profile, says] of Object.entries(PROFILES)) {
  test(`profile ${profile}`, { concurrency: 1 }, async (t) => {
    const server = await serve(t, profile);
    for (const client of CLIENTS) {
      await t.test(`${client.label}: join, talk, leave`, (t) => conversation(t, server, client, profile, says));
      await t.test(`${client.label}: a member is taken out`, (t) => taken_out(t, server, client, profile, says));
      await t.test(`${client.label}: what was wrong`, (t) => wrong(t, server, client, profile, says));
    }
  });
}

const room_of = (client, purpose) => `${purpose} ${client.label} &=+%방`;

/** Who speaks where: React says it in each payload. */
async function member(t, server, client, profile, room, name) {
  const react = profile === "react";
  const socket = await connect(t, server, react ? {} : { name, room }, client);
  const who = react ? { idx: room, name } : {};
  socket.join = (more) => ask(socket, "join_room", { msg: "", ...who, ...more });
  socket.say = (msg) => ask(socket, "chatting", react ? { ...who, msg } : msg);
  socket.leave = (more) => ask(socket, "leave_room", { ...who, ...more });
  socket.exit = (more) => ask(socket, "exit_room", { idx: room, ...more });
  return socket;
}

const joined = (profile, says, name, size) =>
  profile === "react"
    ? [["chatting", { msg: says.entered(name), type: "notice", size, name }], ["join_room", { msg: says.entered(name), type: "notice", size, name }]]
    : [notice(says.entered(name), size)];

async function conversation(t, server, client, profile, says) {
  const room = room_of(client, "talk");
  const [a, b, other] = await Promise.all([
    member(t, server, client, profile, room, "김가"),
    member(t, server, client, profile, room, "b&+"),
    member(t, server, client, profile, `${room}2`, "c"),
  ]);
  assert.deepEqual(await a.join({ type: 0, mem_cnt: 1 }), { ok: true });
  await other.join({ type: 1, mem_cnt: 1 });
  await heardByNow(other);
  const first = joined(profile, says, "김가", 1);
  assert.deepEqual(await hear(a, first.length), first);
  await b.join({ type: 0, mem_cnt: 2 });
  const second = joined(profile, says, "b&+", 2);
  assert.deepEqual(await hear(a, second.length), second);
  assert.deepEqual(await hear(b, second.length), second);
  for (const msg of MESSAGES) {
    const answer = await a.say(msg);
    assert.equal(answer.ok, true);
    assert.match(answer.offset, /^[0-9a-f]+-\d+$/);
    for (const socket of [a, b]) {
      const [[event, body]] = await hear(socket);
      assert.equal(event, "chatting");
      assert.deepEqual(Object.keys(body), ["msg", "name", "type", "time", "view"]);
      assert.match(body.time, /^(오전|오후) (0[1-9]|1[0-2]):[0-5]\d$/);
      assert.deepEqual(body, { msg, name: "김가", type: "chat", time: body.time, view: 2 });
    }
  }
  // A re-entry is silent, but in `local`.
  await b.join({ type: 1, mem_cnt: 9 });
  assert.deepEqual(await heardByNow(a), profile === "local" ? [notice(says.entered("b&+"), 2)] : []);
  b.heard.length = 0;
  assert.deepEqual(await b.leave({ mem_cnt: 2 }), { ok: true });
  assert.deepEqual(await hear(a), [notice(says.left("b&+"), 1)]);
  // Once left, the disconnection says nothing more; a member's does in `local`.
  b.close();
  assert.deepEqual(await heardByNow(a), []);
  const c = await member(t, server, client, profile, room, "셋");
  await c.join({ type: 1 });
  a.heard.length = 0;
  await heardByNow(a);
  c.close();
  if (profile === "local") assert.deepEqual(await hear(a), [notice(says.left("셋"), 1)]);
  assert.deepEqual(await heardByNow(a), []);
  assert.deepEqual(await heardByNow(other), [], "another room hears nothing");
  // Who has not joined may speak, and does not receive.
  const outside = await member(t, server, client, profile, room, "밖");
  assert.equal((await outside.say("들려요?")).ok, true);
  const [[, body]] = await hear(a);
  assert.deepEqual([body.msg, body.name, body.view], ["들려요?", "밖", 1]);
  assert.deepEqual(await heardByNow(outside), []);
}

async function taken_out(t, server, client, profile, says) {
  const room = room_of(client, "exit");
  const [host, guest] = await Promise.all([
    member(t, server, client, profile, room, "방장"),
    member(t, server, client, profile, room, "손님"),
  ]);
  await host.join({ type: 1 });
  await guest.join({ type: 1 });
  await heardByNow(host);
  await heardByNow(guest);
  const concerned = profile === "local" ? [host, "방장"] : [guest, "손님"];
  const payload = profile === "local" ? { name: "손님" } : { name: "손님", mem_cnt: 5 };
  assert.equal((await host.exit(payload)).ok, true);
  const words = says.out("방장", "손님");
  const size = profile === "local" ? 2 : 4;
  const [target, name] = concerned;
  assert.deepEqual(await hear(target, 2), [notice(words, size), ["exit_room", { msg: words, type: "notice", name, size }]]);
  const rest = target === host ? guest : host;
  assert.deepEqual(await heardByNow(rest), [notice(words, size)]);
  // It is out: it does not hear the room any more.
  await rest.say("이제 없네");
  assert.equal((await hear(rest))[0][1].view, 1);
  assert.deepEqual(await heardByNow(target), []);
}

async function wrong(t, server, client, profile, says) {
  const room = room_of(client, "wrong");
  const react = profile === "react";
  const a = await member(t, server, client, profile, room, "가");
  await a.join({ type: 1 });
  await heardByNow(a);
  // No payload at all: nothing happens but joining; in React there is no room then.
  const answer = await ask(a, "join_room");
  if (react) assert.equal(typeof answer.error, "string");
  else assert.equal(answer.ok, true);
  if (profile !== "local") assert.deepEqual(await heardByNow(a), []);
  // A count that is none: the real one.
  const b = await member(t, server, client, profile, room, "나");
  a.heard.length = 0;
  for (const mem_cnt of [undefined, "many", null, {}]) {
    await b.join({ type: 0, mem_cnt });
    const [[, body]] = await hear(a, react ? 2 : 1);
    assert.equal(body.size, 2, JSON.stringify(mem_cnt));
  }
  await b.leave({ mem_cnt: [] });
  assert.deepEqual(await hear(a), [notice(says.left("나"), 1)]);
  // A leave of one who has left is no second notice.
  await b.leave({});
  assert.deepEqual(await heardByNow(a), []);
  // Without room or name the event is refused: an ack says so, else an event of its own.
  const nobody = await connect(t, server, react ? {} : { name: "x" }, client);
  const refused = await ask(nobody, "chatting", react ? { msg: "x" } : "x");
  assert.match(refused.error, /room|idx/);
  nobody.emit("chatting", react ? { msg: "x" } : "x");
  const [[event, { event: about, reason }]] = await hear(nobody);
  assert.deepEqual([event, about, reason], ["chat_error", "chatting", refused.error]);
  assert.deepEqual(await heardByNow(a), []);
}
