// The chat page in a real browser, as people use it.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { program, supervise, until } from "./helpers.mjs";

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

test("ten reloads while people type: nobody notices anything", async (t) => {
  const server = await supervise(t, "local", 'min_uptime = "50ms"');
  const [ann, ben] = [await person(t), await person(t, { locale: "ko-KR" })];
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
  await snap(ann, "after-ten-reloads-ann");
});

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
