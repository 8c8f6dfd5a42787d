// What chatctl is measured against: the same chat on Socket.IO for Node, as lean as it can be written.
//
// It does what chatctl's profiles `local` and `web` do for the events a benchmark uses: rooms and names from the handshake,
// messages to everybody in the room, counts without a walk over its members, the time rendered once a minute.
// RECOVERY=1 keeps what was said for 2 minutes, in memory (connection state recovery); CERT and KEY are files, and make it https;
// PORT and PROFILE as they are named.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { Server } from "socket.io";

const { PORT = "0", PROFILE = "web", RECOVERY = "", CERT, KEY } = process.env;
const local = PROFILE === "local";

const http = CERT ? createTlsServer({ cert: readFileSync(CERT), key: readFileSync(KEY) }) : createServer();
const io = new Server(http, {
  serveClient: false,
  ...(RECOVERY === "1" && { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } }),
});

let [minute, time] = [0, ""];
/** `오전 hh:mm` or `오후 hh:mm`, in this machine's zone. */
function wallTime() {
  const now = Math.floor(Date.now() / 60_000);
  if (now !== minute) {
    const date = new Date(now * 60_000);
    const hours = date.getHours();
    const two = (number) => String(number).padStart(2, "0");
    [minute, time] = [now, `${hours < 12 ? "오전" : "오후"} ${two(hours % 12 || 12)}:${two(date.getMinutes())}`];
  }
  return time;
}

const members = (room) => io.sockets.adapter.rooms.get(room)?.size ?? 0;
const notice = (room, msg) => io.to(room).emit("chatting", { msg, type: "notice", size: members(room) });

io.on("connection", (socket) => {
  const { room, name } = socket.handshake.query;
  socket.on("join_room", (data, answer) => {
    socket.join(room);
    if (local || data?.type === 0) notice(room, `${name}${local ? "" : " "}님이 입장하셨습니다.`);
    answer?.({ ok: true });
  });
  socket.on("chatting", (msg, answer) => {
    io.to(room).emit("chatting", { msg, name, type: "chat", time: wallTime(), view: members(room) });
    answer?.({ ok: true });
  });
  socket.on("leave_room", () => {
    if (!socket.rooms.has(room)) return;
    socket.leave(room);
    notice(room, `${name}${local ? "" : " "}님이 퇴장하셨습니다.`);
  });
  if (local) {
    socket.on("disconnecting", () => {
      if (socket.rooms.has(room)) {
        socket.leave(room);
        notice(room, `${name}님이 퇴장하셨습니다.`);
      }
    });
  }
});

http.listen(Number(PORT), "127.0.0.1", () => console.error(`listening on http${CERT ? "s" : ""}://127.0.0.1:${http.address().port}`));
