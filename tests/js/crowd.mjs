// People who all talk, and whether everybody heard everything: once, and in one order.
import { get } from "node:https";
import { connect as dial } from "node:net";
import { ask, connect, until } from "./helpers.mjs";

const PEOPLE = Number(process.env.CHATCTL_PEOPLE ?? 22);

/** Connects all the time; gives when it was refused. */
export function knock(t, server) {
  const refused = [];
  const { port } = new URL(server.url);
  const knocking = setInterval(() => {
    const socket = dial(port, "127.0.0.1", () => socket.destroy());
    socket.on("error", ({ code }) => code === "ECONNREFUSED" && refused.push(new Date().toISOString()));
  }, 10);
  t.after(() => clearInterval(knocking));
  return refused;
}

/**
 * People who come, join a room and go, again and again until they are told to stop; how many they were, and whoever of them
 * was not let in. With an `agent` that keeps connections open they come as browsers do, and as proxies.
 */
export function newcomers(server, client, agent) {
  const record = { visits: 0, refused: [] };
  let over = false;
  const visit = () => new Promise((done) => {
    const query = { name: "visitor", room: "lobby" };
    const socket = client.library(server.url, { transports: client.transports, query, forceNew: true, reconnection: false, ...server.options, ...(agent && { agent }) });
    const refused = (why) => {
      record.refused.push(`${client.label}: ${why?.message ?? why} ${why?.description?.message ?? why?.description ?? ""}`);
      done();
    };
    socket.on("connect_error", refused);
    socket.on("connect", () => socket.emit("join_room", { type: 1 }, () => {
      socket.off("disconnect");
      socket.close();
      record.visits += 1;
      done();
    }));
    // Who polls may have been let in just before, and be sent away without loss.
    socket.on("disconnect", (why) => (client.transports[0] === "polling" ? done() : refused(why)));
  });
  const coming = (async () => {
    while (!over) await visit();
  })();
  record.stop = () => {
    over = true;
    return coming;
  };
  return record;
}

/**
 * Somebody who loads the page by TLS, again and again until told to stop: on connections that are kept open, as browsers do.
 * One that the server has closed between two requests is not held against it: whoever finds it so asks again on another.
 */
export function readers(server, agent) {
  const record = { visits: 0, refused: [], again: 0 };
  let over = false;
  const load = () => new Promise((done) => {
    const asked = get(server.url, { ...server.options, agent }, (answer) => {
      answer.resume().on("error", refused).on("end", () => {
        if (answer.statusCode === 200) record.visits += 1;
        else record.refused.push(`the page: ${answer.statusCode}`);
        done();
      });
    });
    const refused = (error) => {
      if (asked.reusedSocket && !asked.res) record.again += 1;
      else record.refused.push(`the page: ${error.message}`);
      done();
    };
    asked.on("error", refused);
  });
  const loading = (async () => {
    while (!over) await load();
  })();
  record.stop = () => {
    over = true;
    return loading;
  };
  return record;
}

/** People in a room who all talk and write down what they hear. */
export async function crowd(t, server, client, people = PEOPLE) {
  const sockets = await Promise.all(Array.from({ length: people }, (_, n) =>
    connect(t, server, { name: `n${n}`, room: "r" }, client, { reconnectionDelay: 50, reconnectionDelayMax: 200 })));
  const record = { said: 0, accepted: new Set(), reconnects: 0, notRecovered: [], disconnects: 0 };
  for (const socket of sockets) {
    await ask(socket, "join_room", { type: 1 });
    socket.heard = [];
    socket.on("disconnect", () => (record.disconnects += 1));
    socket.on("connect", () => {
      record.reconnects += 1;
      if (!socket.recovered) record.notRecovered.push(new Date().toISOString());
    });
  }
  const talking = setInterval(() => {
    const id = record.said++;
    sockets[id % sockets.length].emit("chatting", id, (answer) => answer.ok && record.accepted.add(id));
  }, 2.5);
  t.after(() => clearInterval(talking));
  record.stop = async () => {
    clearInterval(talking);
    for (const socket of sockets) await answered(socket);
  };
  return [sockets, record];
}

/** Waits until the socket's last word has been taken in, and all before it has come back to it. */
const answered = (socket) => until("an answer", () => new Promise((done) => {
  if (!socket.connected) return done(false);
  const never = setTimeout(() => done(false), 5000);
  socket.emit("chatting", "the end", (answer) => { clearTimeout(never); done(answer.ok); });
}));

export const said = (socket) =>
  socket.heard.filter(([event, body]) => event === "chatting" && body.type === "chat" && body.msg !== "the end").map(([, body]) => body.msg);

/** Everything accepted was heard by everybody, once, in one order. */
export function judge(sockets, record) {
  const heard = sockets.map(said);
  const all = new Set([...record.accepted, ...heard.flat()]);
  const [longest] = [...heard].sort((a, b) => b.length - a.length);
  const place = new Map(longest.map((id, n) => [id, n]));
  const result = { messages: all.size, unheard: record.said - all.size, reconnects: record.reconnects, disconnects: record.disconnects, missed: 0, twice: 0, disordered: 0, notRecovered: record.notRecovered.length };
  for (const ids of heard) {
    const own = new Set(ids);
    result.missed += all.size - own.size;
    result.twice += ids.length - own.size;
    result.disordered += ids.filter((id, n) => n > 0 && place.get(ids[n - 1]) > place.get(id)).length;
  }
  return result;
}
