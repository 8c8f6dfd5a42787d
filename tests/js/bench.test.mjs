// The script that measures beside Node: that it measures, goes on where it was ended, and writes its page.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { ticks } from "../../bench/svg.mjs";
import { program } from "./helpers.mjs";

const bench = new URL("../../bench", import.meta.url).pathname;

test("a short round gives a page with figures and curves", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "chatctl-bench-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await cp(bench, join(folder, "bench"), { recursive: true, filter: (file) => !file.includes("node_modules") });
  const run = (...more) => promisify(execFile)(process.execPath, [join(folder, "bench/run.mjs"), "--bin", program,
    "--servers", "chatctl", "--seconds", "0.3", "--rounds", "1", "--only", "100x1", ...more]);
  await run();
  await run("--resume", "--only", "growth clients 100", "--only", "growth clients 300");
  const lines = (await readFile(join(folder, "target/bench/results.jsonl"), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
  const names = lines.map(({ name }) => name);
  assert.deepEqual(names.slice(0, 3), ["100x1", "growth clients 100", "growth clients 300"]);
  assert.equal(new Set(names).size, names.length, "what was measured is not measured again");
  for (const { report } of lines) assert.deepEqual([report.messages.missing, report.troubles], [0, {}]);
  const page = await readFile(join(folder, "bench/RESULTS.md"), "utf8");
  assert.match(page, /\| 100x1 \| deliveries per CPU-second \| [\d,]+ \|/);
  assert.match(page, /growth-clients\.svg/);
  assert.doesNotMatch(page, /undefined|NaN/);
  const curve = await readFile(join(folder, "bench/growth-clients.svg"), "utf8");
  assert.doesNotMatch(curve, /undefined|NaN|Infinity/);
  assert.ok(curve.match(/<circle /g).length >= 2);
  // What a median would not show.
  const [first] = lines;
  const spoilt = { ...first, report: { ...first.report, troubles: { "refused: too much": 7 }, stolen: { cpu_s: 1, share: 0.25 } } };
  const storm = { ...first, name: "storm 5,000", report: { ...first.report, scenario: "storm", messages: null, back_us: { max: 5 }, returns: { back: 9, recovered: 9, away: 1 } } };
  await writeFile(join(folder, "target/bench/results.jsonl"), [spoilt, storm].map((line) => JSON.stringify(line)).join("\n"));
  await run("--page");
  const said = await readFile(join(folder, "bench/RESULTS.md"), "utf8");
  assert.match(said, /- 100x1, chatctl, round 1: 7 refused: too much; the host took 25\.00 % of the processors\n/);
  assert.match(said, /- storm 5,000, chatctl, round 1: 1 still away\n/);
  assert.match(said, /\| storm 5,000 \| with their session \| 90\.00 % /);
  assert.doesNotMatch(said, /all are back after/);
});

test("steps of a scale are round and reach beyond the largest value", () => {
  assert.deepEqual(ticks(20), [0, 5, 10, 15, 20]);
  assert.deepEqual(ticks(0.7), [0, 0.2, 0.4, 0.6, 0.8]);
  for (const max of [0.003, 1, 9.99, 10, 123, 98_765]) {
    const steps = ticks(max);
    assert.ok(steps.at(-1) >= max && steps.at(-2) < max && steps.length <= 7, `${max}: ${steps}`);
  }
});
