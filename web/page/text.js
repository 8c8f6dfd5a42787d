// What the page says, in the languages it speaks; chosen by the browser, or by the person, which is remembered.

const texts = {
  en: {
    title: "Chat",
    name: "Your name",
    room: "Room",
    enter: "Enter",
    leave: "Leave",
    message: "Message",
    messages: "Messages",
    send: "Send",
    newer: "New messages ↓",
    connecting: "Connecting…",
    online: "Connected",
    offline: "Reconnecting…",
    closed: "Not connected",
    lost: "Connection lost. Reconnecting… What you write is sent as soon as it is back.",
    out: "You were taken out of this room.",
    refused: (why) => `The server does not let you in: ${why}.`,
    sending: "sending…",
    unsure: "Perhaps not delivered.",
    again: "Send again",
    members: (n) => (n === 1 ? "1 person" : `${n} people`),
    language: "한국어",
  },
  ko: {
    title: "채팅",
    name: "닉네임",
    room: "채팅방",
    enter: "입장",
    leave: "나가기",
    message: "메시지",
    messages: "메시지 목록",
    send: "보내기",
    newer: "새 메시지 ↓",
    connecting: "연결 중…",
    online: "연결됨",
    offline: "다시 연결 중…",
    closed: "연결되지 않음",
    lost: "연결이 끊겼습니다. 다시 연결하는 중이며, 작성한 메시지는 연결되면 바로 전송됩니다.",
    out: "이 채팅방에서 내보내졌습니다.",
    refused: (why) => `서버가 입장을 허락하지 않습니다: ${why}.`,
    sending: "전송 중…",
    unsure: "전달되지 않았을 수 있습니다.",
    again: "다시 보내기",
    members: (n) => `${n}명`,
    language: "English",
  },
};

const kept = "chat-language";

function remembered() {
  try {
    return localStorage.getItem(kept);
  } catch {
    return null; // storage is switched off in this browser
  }
}

let language = remembered() ?? (navigator.language.startsWith("ko") ? "ko" : "en");

/** The text of this key, in the language chosen. */
export const t = (key) => (texts[language] ?? texts.en)[key];

/** Writes the texts into the page, and again with `changed` whenever the language is switched. */
export function speak(changed) {
  const write = () => {
    document.documentElement.lang = language;
    for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
    for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = t(element.dataset.label);
    for (const element of document.querySelectorAll("[data-placeholder]")) {
      element.placeholder = t(element.dataset.placeholder);
    }
    changed();
  };
  const button = document.querySelector("#language");
  button.dataset.text = "language";
  button.addEventListener("click", () => {
    language = language === "ko" ? "en" : "ko";
    try {
      localStorage.setItem(kept, language);
    } catch {
      // Not remembered then.
    }
    write();
  });
  write();
}
