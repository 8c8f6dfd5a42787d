// Distance: a way through which every byte takes its time, as over a long line.
import { connect, createServer } from "node:net";

/** A URL that leads to `url`, with so many milliseconds each way. */
export async function distance(t, url, delay) {
  const target = Number(new URL(url).port);
  const open = new Set();
  const frozen = new WeakSet();
  const later = (from, to) => {
    // In order: every event of one direction waits equally long.
    const then = (happens) => () => frozen.has(from) || happens();
    from.on("data", (bytes) => setTimeout(then(() => to.write(bytes)), delay));
    from.on("end", () => setTimeout(then(() => to.end()), delay));
    from.on("error", then(() => to.destroy()));
    from.on("close", () => setTimeout(then(() => to.destroy()), delay));
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ port: target, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    [near, far].forEach((socket) => {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
    });
    later(near, far);
    later(far, near);
  });
  t.after(() => {
    server.close();
    open.forEach((socket) => socket.destroy());
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const way = `http://127.0.0.1:${server.address().port}`;
  ways.set(way, () => open.forEach((socket) => frozen.add(socket)));
  return way;
}

const ways = new Map();

/** From now on nothing passes on the connections there are, not even their end; new ones work. */
distance.freeze = (way) => ways.get(way)();
