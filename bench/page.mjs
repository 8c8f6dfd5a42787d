// The page of results: medians and ratios as tables, growth as curves.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { curves } from "./svg.mjs";

const NAMES = { chatctl: "chatctl", node: "Node", "node-recovery": "Node with recovery" };

const median = (values) => {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return sorted.length ? (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2 : undefined;
};

const count = (value) => Math.round(value).toLocaleString("en");
const ms = (us) => `${us < 10_000 ? (us / 1000).toFixed(2) : (us / 1000).toFixed(0)} ms`;
const kilobytes = (bytes) => `${(bytes / 1024).toFixed(1)} KB`;
const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
const share = (part) => `${(100 * part).toFixed(2)} %`;
const arrived = ({ messages }) => messages && (messages.owed - messages.missing) / messages.owed;

/** Which figures of which scenarios are shown, and how a ratio to Node's is taken: what is better is above 1. */
const TABLES = [
  {
    title: "Messages to a room, as fast as they come back",
    note: "Clients x rooms; one client in ten speaks, and waits for its own message before the next. Deliveries for each second of processor that the server used.",
    of: ["100x1", "1,000x1", "1,000x20", "5,000x100"],
    figures: [
      ["deliveries per CPU-second", (report) => report.server.deliveries_per_cpu_s, count, "more"],
      ["p99", (report) => report.latency_us?.p99, ms, "less"],
    ],
  },
  {
    title: "The same by other ways",
    note: "1,000 clients in 20 rooms, by HTTP long-polling, and over TLS that ends in the server (P-256, TLS 1.3); people who come and go, 50 at once, each with a TLS handshake.",
    of: ["1,000x20 by polling", "1,000x20 by TLS", "churn by TLS"],
    figures: [
      ["deliveries per CPU-second", (report) => report.server.deliveries_per_cpu_s, count, "more"],
      ["p99", (report) => report.latency_us?.p99, ms, "less"],
      ["handshakes per CPU-second", (report) => report.server.handshakes_per_cpu_s ?? undefined, count, "more"],
    ],
  },
  {
    title: "Low load",
    note: "10 messages a second to 100 clients, at a fixed rate.",
    of: ["low load"],
    figures: [
      ["p50", (report) => report.latency_us?.p50, ms, "less"],
      ["p99", (report) => report.latency_us?.p99, ms, "less"],
      ["p99 of the generator's own lateness", (report) => report.generator.lag_us?.p99, ms],
    ],
  },
  {
    title: "Connections",
    note: "10,000 that say nothing, in rooms of 20 (memory as PSS, without the kernel's); people who come and go, 50 at once.",
    of: ["idle 10,000", "churn"],
    figures: [
      ["memory of a connection", (report) => report.server.bytes_per_connection, kilobytes, "less"],
      ["before anybody came", (report) => report.scenario === "idle" ? report.server.pss_before_bytes : undefined, megabytes, "less"],
      ["5 s after all have gone", (report) => report.server.pss_after_bytes ?? undefined, megabytes, "less"],
      ["handshakes per CPU-second", (report) => report.server.handshakes_per_cpu_s ?? undefined, count, "more"],
    ],
  },
  {
    title: "Lines that break",
    note: "All of 5,000 connections cut in one moment; 100 people whose connections are cut every 15 s, for 2 s, at 50 messages a second, for 20 s.",
    of: ["storm 5,000", "jitter"],
    figures: [
      ["all are back after", (report) => report.scenario === "storm" && report.returns.away === 0 ? report.back_us?.max : undefined, ms, "less"],
      ["with their session", (report) => report.returns && report.returns.recovered / (report.returns.back + report.returns.away), share],
      ["of what was said arrived", arrived, share],
    ],
  },
];

/** Medians of a figure for each server. */
const medians = (rows, name, figure) =>
  Object.fromEntries(Object.keys(NAMES).map((server) =>
    [server, median(rows.filter((row) => row.name === name && row.server === server).map(({ report }) => figure(report)))]));

function table({ title, note, of, figures }, rows) {
  const lines = of.flatMap((name) => figures.flatMap(([what, figure, show, better]) => {
    const values = medians(rows, name, figure);
    if (values.chatctl === undefined && values.node === undefined) return [];
    const cells = Object.values(values).map((value) => (value === undefined ? "" : show(value)));
    const ratio = better && values.chatctl && values.node
      ? `${(better === "more" ? values.chatctl / values.node : values.node / values.chatctl).toFixed(1)} x`
      : "";
    return [`| ${name} | ${what} | ${cells.join(" | ")} | ${ratio} |`];
  }));
  if (lines.length === 0) return "";
  return `## ${title}\n\n${note}\n\n| | | ${Object.values(NAMES).join(" | ")} | better than Node |\n|---|---|--:|--:|--:|--:|\n${lines.join("\n")}\n`;
}

/** Whether the generator was fast enough: what both used. */
function honesty(rows) {
  const lines = ["100x1", "1,000x1", "1,000x20", "5,000x100", "churn", "1,000x20 by polling", "1,000x20 by TLS", "churn by TLS"].flatMap((name) => {
    const cores = Object.values(medians(rows, name, ({ server }) => server.cores));
    const own = Object.values(medians(rows, name, ({ generator }) => generator.cores));
    if (cores.every((value) => value === undefined)) return [];
    const cells = cores.map((value, n) => (value === undefined ? "" : `${value.toFixed(2)} / ${own[n].toFixed(2)}`));
    return [`| ${name} | ${cells.join(" | ")} |`];
  });
  if (lines.length === 0) return "";
  return `## Who was measured\n\nCores used by the server / by the generator. A server that is kept busy is at 1.\n\n` +
    `| | ${Object.values(NAMES).join(" | ")} |\n|---|--:|--:|--:|\n${lines.join("\n")}\n`;
}

/** What flatters a figure, or spoils it: the medians above do not show it. */
function blemishes(rows) {
  const lines = rows.flatMap(({ name, server, round, report: { connections, messages, returns, stolen, interrupted, troubles } }) => {
    // That something is lost on those who are cut off is what is measured there, and that a door is crowded.
    const lost = returns ? { "still away": returns.away } : {
      missing: messages?.missing, refused: messages?.refused, "could not be sent": messages?.unsent,
      ...troubles,
    };
    const said = Object.entries({ "not let in": connections.wanted - connections.made, "connections lost": connections.lost, ...lost })
      .filter(([, times]) => times > 0).map(([what, times]) => `${count(times)} ${what}`);
    if (interrupted) said.push("ended early");
    if (stolen?.share >= 0.01) said.push(`the host took ${share(stolen.share)} of the processors`);
    return said.length > 0 ? [`- ${name}, ${NAMES[server]}, round ${round}: ${said.join("; ")}`] : [];
  });
  return lines.length > 0 ? `## What was not as it should be\n\n${lines.join("\n")}\n` : "";
}

/** The series of a curve: for each server the points [x, y]. */
const series = (rows, beginning, y) =>
  ["chatctl", "node"].map((server) => ({
    name: NAMES[server],
    points: rows
      .filter((row) => row.server === server && row.name.startsWith(beginning))
      .map(({ name, report }) => [Number(name.slice(beginning.length)), y(report)])
      .filter(([, value]) => Number.isFinite(value))
      .sort(([a], [b]) => a - b),
  })).filter(({ points }) => points.length > 1);

const microsPerDelivery = ({ server }) => 1e6 / server.deliveries_per_cpu_s;

/** Messages that the journal has when each window begins. */
function journal(rows) {
  let written = 0;
  const points = rows.filter(({ name }) => name === "growth journal").sort((a, b) => a.window - b.window).map(({ report }) => {
    const point = [written, microsPerDelivery(report)];
    // Five people in each room: a message is owed to five.
    written += report.messages.owed / 5;
    return point;
  });
  return points.length > 1 ? [{ name: "chatctl", points }] : [];
}

function growth(folder, rows) {
  const pictures = [
    ["growth-clients.svg", "Processor time for a delivery, in µs", "clients, 50 in each room", series(rows, "growth clients ", microsPerDelivery), { log: true }],
    ["growth-rooms.svg", "Processor time for a delivery, in µs", "rooms, for 5,000 clients", series(rows, "growth rooms ", microsPerDelivery), { log: true }],
    ["growth-idle.svg", "Memory of an idle connection, in KB", "clients", series(rows, "growth idle ", ({ server }) => server.bytes_per_connection / 1024), { log: true }],
    ["growth-journal.svg", "Processor time for a delivery, in µs", "messages said so far", journal(rows), { mark: [200_000, "the journal is full: from here on it forgets as much as it learns"] }],
  ].filter(([, , , lines]) => lines.length > 0);
  pictures.forEach(([file, title, below, lines, options]) => writeFileSync(join(folder, file), curves(title, below, lines, options)));
  return pictures.map(([file, title, below]) => `![${title}: ${below}](${file})\n`).join("\n");
}

const ask = (...command) => execFileSync(command[0], command.slice(1), { encoding: "utf8" }).trim();

/** Writes RESULTS.md and its pictures. */
export function writePage(folder, rows, program) {
  const text = (file) => readFileSync(join(folder, file), "utf8");
  const library = JSON.parse(text("node/package-lock.json")).packages["node_modules/socket.io"].version;
  const kernel = ask("uname", "-sr");
  const rounds = Math.max(0, ...rows.map(({ round }) => round));
  const seconds = rows.find(({ report }) => report.scenario === "fanout")?.report.settings.duration;
  const revisions = [...new Set(rows.filter(({ server }) => server === "chatctl").map(({ revision }) => revision))].filter(Boolean);
  const page = [
    "# Measured\n",
    `Written by \`bench/run.mjs\`; to repeat it: \`cargo build --release && (cd bench/node && npm ci) && node bench/run.mjs\`.\n`,
    `- Machine: ${cpus()[0].model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GB, ${kernel}. The server alone on core 0, the generator (\`chatctl bench\`) on core 1.`,
    `- ${ask(program, "--version")}${revisions.length ? ` (${revisions.join(", ")})` : ""}, as \`cargo build --release\` makes it and \`supervise\` starts it, its journal on, profile \`web\`, no limits on messages.`,
    `- Node ${process.version} with socket.io ${library} ([node/server.mjs](node/server.mjs), as lean as it can be written), without and with connection state recovery.`,
    `- ${rounds === 1 ? "One round" : `Medians of ${rounds} rounds`} of ${seconds} s each, after 1 s of the same load; a new server for each, all servers in turn. Curves: one measurement for each point. WebSocket, texts of 64 bytes.`,
    `- ${new Date().toISOString().slice(0, 10)}. Both cores are virtual, and others use the same machine: ratios of one round are worth more than figures of two days.\n`,
    ...TABLES.map((shown) => table(shown, rows)),
    honesty(rows),
    blemishes(rows),
  ];
  const pictures = growth(folder, rows);
  if (pictures) page.push(`## Growth\n\n${pictures}`);
  const remarks = text("remarks.md").trim();
  writeFileSync(join(folder, "RESULTS.md"), `${page.filter(Boolean).join("\n").trim()}\n\n${remarks}\n`);
}
