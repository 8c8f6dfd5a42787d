// The door: a name and a room. What the address says already is filled in.
import { speak, t } from "./text.js";

const asked = new URLSearchParams(location.search);
for (const key of ["name", "room"]) {
  if (asked.get(key)) document.querySelector(`#${key}`).value = asked.get(key);
}
speak(() => (document.title = t("title")));
