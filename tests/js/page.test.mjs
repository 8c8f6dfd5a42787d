// The chat page in a real browser, as people use it.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { program, secured, supervise, until } from "./helpers.mjs";

const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** Set it to a folder to look at what people see. */
const pictures = process.env.CHATCTL_SCREENSHOTS;

let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
  if (pictures) await mkdir(pictures, { recursive: true });
});
after(() => browser?.close());

async function person(t, options = {}) {
  const context = await browser.newContext({ locale: "en-US", viewport: { width: 1100, height: 720 }, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (line) => line.type() === "error" && !/Failed to load|WebSocket/.test(line.text()) && page.problems.push(line.text()));
  return page;
}

async function enter(page, server, name, room) {
  await page.goto(`${server.url}/room?${new URLSearchParams({ name, room })}`);
  await page.locator('#state[data-state="online"]').waitFor();
}

const say = async (page, text) => {
  await page.locator("#text").fill(text);
  await page.keyboard.press("Enter");
};
const bubble = (page, kind, text) => page.locator(`#log li.${kind}:not(.pending) .bubble`, { hasText: text });
const snap = (page, name) => pictures && page.screenshot({ path: `${pictures}/${name}.png` });

for (const profile of ["local", "web", "react"]) {
  test(`two people talk in one room, a third in another (${profile})`, async (t) => {
    const server = await supervise(t, profile);
    const [ann, ben, eve] = [await person(t), await person(t, { locale: "ko-KR", viewport: { width: 390, height: 780 } }), await person(t)];
    await ann.goto(server.url);
    await snap(ann, `${profile}-join-desktop-en`);
    await ann.locator("#name").fill("Ann");
    await ann.locator("#room").fill("lobby");
    await ann.keyboard.press("Enter");
    await ann.locator('#state[data-state="online"]').waitFor();
    await enter(ben, server, "벤", "lobby");
    await enter(eve, server, "Eve", "elsewhere");
    await ann.locator("#log .notice", { hasText: "벤" }).waitFor();
    await say(ann, 'Hello <img src=x onerror="document.title=1"> <b>you</b>');
    await say(ben, "안녕하세요 😀");
    await bubble(ben, "other", 'Hello <img src=x onerror="document.title=1"> <b>you</b>').waitFor();
    await bubble(ann, "own", "Hello <img").waitFor();
    await bubble(ann, "other", "안녕하세요 😀").waitFor();
    await bubble(ben, "own", "안녕하세요 😀").waitFor();
    assert.equal(await ann.locator("#log img, #log b").count(), 0);
    assert.equal(await ann.locator("#members").textContent(), "2 people");
    assert.equal(await ben.locator("#members").textContent(), "2명");
    assert.equal(await eve.locator("#log .other").count(), 0);
    await snap(ann, `${profile}-room-desktop-en`);
    await snap(ben, `${profile}-room-phone-ko`);

    // A reload comes back to the room.
    await ben.reload();
    await ben.locator('#state[data-state="online"]').waitFor();
    await say(ann, "still there?");
    await bubble(ben, "other", "still there?").waitFor();

    // Leaving is seen by the others.
    await ben.locator("#leave").click();
    await ben.waitForURL(/\/\?/);
    assert.equal(await ben.locator("#name").inputValue(), "벤");
    await ann.locator("#log .notice", { hasText: "퇴장" }).first().waitFor();
    for (const page of [ann, ben, eve]) assert.deepEqual(page.problems, []);
  });
}

test("the server goes away while people chat: a clear note, and what was written arrives", async (t) => {
  const server = await supervise(t, "local", 'restart_delay = "2s"');
  const [ann, ben] = [await person(t), await person(t, { locale: "ko-KR", colorScheme: "dark", viewport: { width: 390, height: 780 } })];
  await enter(ann, server, "Ann", "r");
  await enter(ben, server, "벤", "r");
  await say(ann, "before");
  await bubble(ben, "other", "before").waitFor();
  process.kill((await server.status()).pid, "SIGKILL");
  await ann.locator("#banner", { hasText: "Reconnecting" }).waitFor();
  await ben.locator("#banner", { hasText: "다시 연결" }).waitFor();
  await say(ann, "written meanwhile");
  await ann.locator("#log .pending", { hasText: "written meanwhile" }).waitFor();
  await snap(ann, "reconnecting-desktop-en");
  await snap(ben, "reconnecting-phone-dark-ko");
  await ann.locator('#state[data-state="online"]').waitFor();
  await ben.locator('#state[data-state="online"]').waitFor();
  await ann.locator("#banner").waitFor({ state: "hidden" });
  await bubble(ann, "own", "written meanwhile").waitFor();
  await say(ann, "after");
  await bubble(ben, "other", "after").waitFor();
  assert.equal(await bubble(ann, "own", "written meanwhile").count(), 1, "sent once");
});

test("the server is killed while people type: nothing is lost, nothing comes twice, nobody is announced", async (t) => {
  const server = await supervise(t, "local", 'restart_delay = "1ms"');
  const [ann, ben] = [await person(t), await person(t, { locale: "ko-KR" })];
  await enter(ann, server, "Ann", "r");
  await enter(ben, server, "벤", "r");
  await ann.locator("#log .notice", { hasText: "벤" }).waitFor();
  const words = Array.from({ length: 20 }, (_, n) => `word ${n} of Ann`);
  for (const [n, text] of words.entries()) {
    if (n === 7) process.kill((await server.status()).pid, "SIGKILL");
    await ann.locator("#text").pressSequentially(text);
    await ann.keyboard.press("Enter");
    if (n === 7) await snap(ann, "killed-while-typing");
  }
  await bubble(ben, "other", words.at(-1)).waitFor();
  await ann.locator("#log .pending").first().waitFor({ state: "detached" });
  const texts = (page) => page.locator("#log li:not(.notice) .bubble").allTextContents();
  assert.deepEqual([await texts(ann), await texts(ben)], [words, words]);
  // Each entered once: the page joins again silently, and nobody left.
  assert.equal(await ann.locator("#log .notice", { hasText: "퇴장" }).count(), 0);
  await snap(ann, "after-the-kill-ann");
  await snap(ben, "after-the-kill-ben");
  for (const page of [ann, ben]) assert.deepEqual(page.problems, []);
});

/** Of any certificate. */
const TRUSTING = { ignoreHTTPSErrors: true };

for (const [way, start] of [["http", supervise], ["https", secured]]) {
  test(`ten reloads while people type, by ${way}: nobody notices anything`, async (t) => {
    const server = await start(t, "local", 'min_uptime = "50ms"');
    const [ann, ben] = [await person(t, TRUSTING), await person(t, { ...TRUSTING, locale: "ko-KR" })];
    await enter(ann, server, "Ann", "r");
    await enter(ben, server, "벤", "r");
    await ann.locator("#log .notice", { hasText: "벤" }).waitFor();
    // Whatever the page ever shows of a lost connection.
    for (const page of [ann, ben]) {
      await page.evaluate(() => {
        window.states = [];
        const state = document.querySelector("#state");
        new MutationObserver(() => window.states.push(state.dataset.state)).observe(state, { attributes: true });
      });
    }
    const words = Array.from({ length: 10 }, (_, n) => `word ${n} of Ann`);
    for (const text of words) {
      const reloaded = promisify(execFile)(program, ["reload"], { cwd: server.dir });
      await ann.locator("#text").pressSequentially(text);
      await ann.keyboard.press("Enter");
      await reloaded;
    }
    await bubble(ben, "other", words.at(-1)).waitFor();
    await ann.locator("#log .pending").first().waitFor({ state: "detached" });
    const texts = (page) => page.locator("#log li:not(.notice) .bubble").allTextContents();
    assert.deepEqual([await texts(ann), await texts(ben)], [words, words]);
    assert.equal((await server.status()).restarts, 10);
    for (const page of [ann, ben]) {
      assert.deepEqual((await page.evaluate(() => window.states)).filter((state) => state !== "online"), []);
      assert.deepEqual(page.problems, []);
    }
    await snap(ann, `after-ten-reloads-ann-${way}`);
  });
}

test("the keyboard is enough, composing is left alone, the language switches", async (t) => {
  const server = await supervise(t);
  const page = await person(t);
  await enter(page, server, "Ann", "r");
  assert.equal(await page.evaluate(() => document.activeElement.id), "text");
  // Enter while a syllable is composed belongs to the input method.
  await page.locator("#text").fill("안");
  await page.locator("#text").dispatchEvent("keydown", { key: "Enter", isComposing: true, keyCode: 229 });
  assert.equal(await page.locator("#text").inputValue(), "안");
  await page.keyboard.press("Shift+Enter");
  assert.equal(await page.locator("#text").inputValue(), "안\n");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "send");
  await page.keyboard.press("Enter");
  await bubble(page, "own", "안").waitFor();
  await page.locator("#language").click();
  assert.equal(await page.locator("#send").textContent(), "보내기");
  assert.equal(await page.evaluate(() => document.documentElement.lang), "ko");
  await page.reload();
  await page.locator('#state[data-state="online"]').waitFor();
  assert.equal(await page.locator("#send").textContent(), "보내기");
  const names = await page.evaluate(() => [...document.querySelectorAll("button, a, textarea")].map((element) => element.textContent || element.labels?.[0]?.textContent));
  assert.ok(names.every(Boolean), names.join());
  await until("no horizontal scrolling", () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
});

/** What axe-core, which knows the rules of WCAG, finds wrong with the page. */
async function barriers(page) {
  await page.evaluate(await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`));
}

for (const colorScheme of ["light", "dark"]) {
  test(`nobody meets a barrier (${colorScheme})`, async (t) => {
    const server = await supervise(t, "local", 'restart_delay = "1m"');
    const [ann, ben] = [await person(t, { colorScheme, reducedMotion: "reduce" }), await person(t)];
    await ann.goto(server.url);
    assert.deepEqual(await barriers(ann), []);
    await enter(ann, server, "Ann", "r");
    await enter(ben, server, "بن", "r");
    await say(ben, "مرحبا بالعالم!");
    await bubble(ann, "other", "مرحبا بالعالم!").waitFor();
    assert.equal(await ann.locator(".other .bubble").evaluate((element) => getComputedStyle(element).direction), "rtl");
    await say(ann, "hello");
    await bubble(ann, "own", "hello").waitFor();
    assert.deepEqual(await barriers(ann), []);
    process.kill((await server.status()).pid, "SIGKILL");
    await ann.locator("#banner").waitFor();
    await say(ann, "still to be sent");
    await ann.locator("#log .pending").waitFor();
    assert.deepEqual(await barriers(ann), []);
    await snap(ann, `barriers-${colorScheme}`);
    assert.deepEqual(ann.problems, []);
  });
}

test("whom the server does not let in is told why, and not that it is tried again", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "chatctl-page-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const keys = join(dir, "keys");
  await writeFile(keys, "a secret of at least 32 characters, really", { mode: 0o600 });
  const server = await supervise(t, "local", "", `[auth]\nkeys = ${JSON.stringify(keys)}`);
  const page = await person(t);
  await page.goto(`${server.url}/room?name=Ann&room=r`);
  await page.locator("#banner", { hasText: "does not let you in: a token is needed" }).waitFor();
  assert.equal(await page.locator("#state").textContent(), "Not connected");
  assert.ok(await page.locator("#text").isDisabled());
  await page.locator("#language").click();
  assert.match(await page.locator("#banner").textContent(), /허락하지 않습니다: a token is needed/);
  await snap(page, "not-let-in");
});

test("a page that is opened while the server starts anew comes in by itself", async (t) => {
  const server = await supervise(t);
  const page = await person(t);
  const answers = [(route) => route.abort("connectionrefused"), (route) => route.fulfill({ status: 503 })];
  await page.route("**/page/config.json", (route) => (answers.shift() ?? ((last) => last.continue()))(route));
  let scripts = 0;
  await page.route("**/socket.io.min.js", (route) => (++scripts === 1 ? route.abort("connectionrefused") : route.continue()));
  await page.goto(`${server.url}/room?name=Ann&room=r`);
  await page.locator("#banner", { hasText: "Reconnecting" }).waitFor();
  await page.locator('#state[data-state="online"]').waitFor();
  assert.deepEqual([answers.length, scripts, await page.locator("#banner").isHidden()], [0, 2, true]);
  await say(page, "here I am");
  await bubble(page, "own", "here I am").waitFor();
});

test("a join that is never answered is tried again", async (t) => {
  const server = await supervise(t);
  const page = await person(t);
  let dropped = 0;
  const isFirst = (text) => text?.includes('"join_room"') && dropped++ === 0;
  await page.route("**/socket.io/?*", (route) => (isFirst(route.request().postData()) ? route.fulfill({ body: "ok" }) : route.continue()));
  await page.routeWebSocket("**/socket.io/?*", (socket) => {
    const to = socket.connectToServer();
    socket.onMessage((text) => isFirst(String(text)) || to.send(text));
  });
  await page.clock.install();
  await page.goto(`${server.url}/room?name=Ann&room=r`);
  await until("the join to be lost", () => dropped > 0);
  assert.equal(await page.locator("#state").getAttribute("data-state"), "connecting");
  await page.clock.fastForward(10_000);
  await page.locator('#state[data-state="online"]').waitFor();
  assert.equal(dropped, 2);
});

test("newcomers see what was said before, once", async (t) => {
  // No session survives the death of this server.
  const short = '[recovery]\nwindow = "1ms"\nleave_grace = "1ms"';
  const server = await supervise(t, "local", 'restart_delay = "500ms"', `${short}\n[history]\nmessages = 2`);
  const [ann, ben] = [await person(t), await person(t)];
  await enter(ann, server, "Ann", "r");
  for (const words of ["one", "two", "three <b>"]) {
    await say(ann, words);
    await bubble(ann, "own", words).waitFor();
  }
  await enter(ben, server, "Ben", "r");
  const texts = () => ben.locator("#log .other .bubble").allTextContents();
  assert.deepEqual(await texts(), ["two", "three <b>"]);
  await snap(ben, "history");
  // Who comes back as somebody new is told again, and has seen it.
  process.kill((await server.status()).pid, "SIGKILL");
  await ben.locator("#banner").waitFor();
  await ben.locator('#state[data-state="online"]').waitFor();
  await say(ann, "four");
  await bubble(ben, "other", "four").waitFor();
  assert.deepEqual(await texts(), ["two", "three <b>", "four"]);
});

test("the last message stays in sight when a keyboard takes from the room", async (t) => {
  const server = await supervise(t);
  const page = await person(t, { viewport: { width: 390, height: 780 } });
  await enter(page, server, "Ann", "r");
  for (let n = 0; n < 30; n += 1) await say(page, `message ${n}`);
  const last = page.locator("#log .own:not(.pending) .bubble", { hasText: "message 29" });
  await last.waitFor();
  const isSeen = () => last.evaluate((element) => element.getBoundingClientRect().bottom <= document.querySelector("#compose").getBoundingClientRect().top);
  await until("it to be in sight", isSeen);
  await page.setViewportSize({ width: 390, height: 420 });
  await until("it to be in sight again", isSeen);
  // Who reads further up is left there.
  await page.locator("#view").evaluate((view) => (view.scrollTop = 0));
  await until("that to be noticed", () => page.locator("#view").evaluate((view) => view.scrollTop === 0));
  await page.setViewportSize({ width: 390, height: 700 });
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  assert.equal(await page.locator("#view").evaluate((view) => view.scrollTop), 0);
});
