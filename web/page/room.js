// The room as people see it. Whatever is said is text, never HTML.
import { speak, t } from "./text.js";
import { Talk } from "./talk.js";

/** Messages kept on the page; older ones go. */
const SHOWN = 500;

const find = (id) => document.getElementById(id);
const [view, log, text, banner, newer] = ["view", "log", "text", "banner", "newer"].map(find);
const asked = new URLSearchParams(location.search);
const [room, name] = [asked.get("room"), asked.get("name")];
if (!room || !name) location.replace(`/${location.search}`);

let state = "connecting";
let members;
/** What the banner says, in the language chosen then. */
let warning;

const create = (tag, className, content = "") =>
  Object.assign(document.createElement(tag), { className, textContent: content });

/** Whether the last message is in sight, where it is kept: also when a keyboard or the banner takes from the room. */
let isAtEnd = true;

const toEnd = () => (view.scrollTop = view.scrollHeight);

function show(item) {
  const follow = isAtEnd || item.classList.contains("own");
  log.append(item);
  while (log.childElementCount > SHOWN) log.firstElementChild.remove();
  if (follow) toEnd();
  else newer.hidden = false;
}

/** A message's text; what is not a string is shown as JSON. */
const worded = (msg) => (typeof msg === "string" ? msg : JSON.stringify(msg));

function bubble(who, msg, time, own) {
  const item = create("li", own ? "own" : "other");
  if (!own) item.append(create("span", "who", who));
  const line = create("div", "line");
  // What people write goes in the direction of its script.
  line.append(Object.assign(create("p", "bubble", worded(msg)), { dir: "auto" }), create("small", "time", time));
  item.append(line);
  return item;
}

function refresh() {
  document.title = `${room} · ${t("title")}`;
  find("title").textContent = room;
  Object.assign(find("state"), { textContent: t(state) }).dataset.state = state;
  find("members").textContent = members === undefined ? "" : t("members")(members);
  banner.hidden = !warning;
  banner.textContent = warning?.() ?? "";
  for (const [entry, item] of items) mark(entry, item);
}

function mark(entry, item) {
  item.querySelector(".note")?.remove();
  const note = create("small", "note");
  if (entry.status === "unsure") {
    const again = create("button", "quiet", t("again"));
    again.type = "button";
    again.addEventListener("click", () => talk.repeat(entry));
    note.append(entry.reason ?? t("unsure"), " ", again);
  } else {
    note.textContent = t("sending");
  }
  item.append(note);
}

/** Own messages on their way, with what shows them. */
const items = new Map();

const hear = {
  state(now) {
    state = now;
    warning = now === "offline" ? () => t("lost") : undefined;
    refresh();
  },
  notice: (words) => show(create("li", "notice", words)),
  message(packet, own) {
    items.get(own)?.remove();
    items.delete(own);
    show(bubble(packet.name, packet.msg, packet.time, Boolean(own)));
  },
  members(count) {
    if (Number.isFinite(count)) members = count;
    refresh();
  },
  out: () => close(() => t("out")),
  refused: (why) => close(() => t("refused")(why)),
  outcome: (entry) => items.has(entry) && mark(entry, items.get(entry)),
};

/** It is over, and why. */
function close(why) {
  [state, warning] = ["closed", why];
  [text.disabled, find("send").disabled] = [true, true];
  refresh();
}

let talk;

function send() {
  const words = text.value.trim();
  if (!words || !talk) return;
  const entry = talk.say(words);
  const item = bubble(name, words, "", true);
  item.classList.add("pending");
  items.set(entry, item);
  mark(entry, item);
  show(item);
  text.value = "";
  fit();
}

/** The field grows with what is written. */
function fit() {
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight, 140)}px`;
}

text.addEventListener("input", fit);
text.addEventListener("keydown", (event) => {
  // While Korean syllables are composed, Enter belongs to the input method (keyCode 229 in Safari).
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});
find("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
  text.focus();
});
newer.addEventListener("click", toEnd);
view.addEventListener("scroll", () => {
  isAtEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 60;
  newer.hidden ||= isAtEnd;
});
new ResizeObserver(() => isAtEnd && toEnd()).observe(view);
find("leave").addEventListener("click", async (event) => {
  event.preventDefault();
  await talk?.leave();
  location.href = `/?${new URLSearchParams({ name, room })}`;
});

/** How the server speaks. It may be starting anew just now: it is asked until it answers. */
async function configuration() {
  for (;;) {
    try {
      const answer = await fetch("/page/config.json");
      // What else the page is made of may not have come either.
      if (answer.ok && !window.io) location.reload();
      else if (answer.ok) return await answer.json();
    } catch {
      // No connection.
    }
    hear.state("offline");
    await new Promise((again) => setTimeout(again, 1000));
  }
}

speak(refresh);
if (room && name) {
  const { profile } = await configuration();
  talk = new Talk(window.io({ query: { name, room } }), { profile, room, name }, hear);
  text.focus();
}
