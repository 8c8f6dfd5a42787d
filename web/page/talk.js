// The conversation with the server: joining, sending, what is still on its way. Knows nothing of the page.

const ACK_WAIT = 10_000;

/**
 * Talks in one room. `profile` is how the server speaks; `hear` is told what happens:
 * `state(name)`, `notice(text)`, `message({name, msg, time}, own)`, `members(n)`, `out()`, `refused(reason)`,
 * `outcome(entry)`.
 */
export class Talk {
  constructor(socket, { profile, room, name }, hear) {
    Object.assign(this, { socket, profile, room, name, hear, joined: false, entered: false });
    /** Own messages that did not come back yet: {text, status: "waiting" | "sent" | "unsure"}. */
    this.pending = [];
    socket.on("connect", () => this.enter());
    socket.on("disconnect", (reason) => this.lost(reason));
    // Whom the server does not let in does not try again by itself.
    socket.on("connect_error", (error) => (socket.active ? hear.state("offline") : hear.refused(error.message)));
    socket.on("chatting", (packet) => this.heard(packet));
    // Who is back has seen it.
    socket.on("history", ({ messages }) => this.entered || messages.forEach((packet) => hear.message(packet)));
    socket.on("exit_room", () => {
      socket.disconnect();
      hear.out();
    });
  }

  enter() {
    if (this.socket.recovered && this.entered) return this.ready();
    // 0: the first entry, announced to the room; 1: back again, in silence.
    const join = { msg: "", type: this.entered ? 1 : 0, ...this.who() };
    this.socket.timeout(ACK_WAIT).emit("join_room", join, (late, answer) => {
      // With a connection that is gone this is over: the next one joins.
      if (late) return this.socket.connected && this.enter();
      if (answer.error) return this.hear.notice(answer.error);
      this.entered = true;
      this.ready();
    });
  }

  ready() {
    this.joined = true;
    this.hear.state("online");
    this.pending.filter((entry) => entry.status === "waiting").forEach((entry) => this.emit(entry));
  }

  lost(reason) {
    this.joined = false;
    for (const entry of this.pending) {
      if (entry.status === "sent") this.settle(entry, "unsure");
    }
    if (reason !== "io client disconnect") this.hear.state("offline");
  }

  /** React servers are told in each event which room and who. */
  who() {
    return this.profile === "react" ? { idx: this.room, name: this.name } : {};
  }

  /** Says something; it waits while there is no connection. */
  say(text) {
    const entry = { text, status: "waiting" };
    this.pending.push(entry);
    if (this.joined) this.emit(entry);
    return entry;
  }

  emit(entry) {
    entry.status = "sent";
    const payload = this.profile === "react" ? { ...this.who(), msg: entry.text } : entry.text;
    this.socket.timeout(ACK_WAIT).emit("chatting", payload, (late, answer) => {
      if (late || answer.error) this.settle(entry, "unsure", answer?.error);
    });
  }

  /** Once more, on the person's word. */
  repeat(entry) {
    entry.status = "waiting";
    entry.reason = undefined;
    this.hear.outcome(entry);
    if (this.joined) this.emit(entry);
  }

  settle(entry, status, reason) {
    if (!this.pending.includes(entry)) return;
    Object.assign(entry, { status, reason });
    this.hear.outcome(entry);
  }

  heard(packet) {
    if (packet?.type === "notice") {
      this.hear.notice(String(packet.msg));
      this.hear.members(packet.size);
      return;
    }
    const index = packet.name === this.name ? this.pending.findIndex((entry) => entry.text === packet.msg) : -1;
    const [own] = index < 0 ? [] : this.pending.splice(index, 1);
    this.hear.message(packet, own);
    this.hear.members(packet.view);
  }

  leave() {
    // The address changes only when the server knows, or after a moment.
    const left = new Promise((done) => this.socket.timeout(1000).emit("leave_room", { ...this.who() }, done));
    return this.joined ? left : Promise.resolve();
  }
}
