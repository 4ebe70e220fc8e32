// What is asked for beside the words, as chips that can be taken away: photo, examples, filters.

import { button, byId, el } from "./elements.js";
import { FILTERS, isRanked } from "./query.js";
import { recallPhoto } from "./photo.js";
import { date, shownValue, t } from "./texts.js";
import { thumbnail } from "./thumbnails.js";

const TINY = 48; // a circle of 32, cut from the middle

/** Keep the row of chips true to what is asked for. */
export function showChips(asked) {
  const row = byId("asked");
  const draw = () => {
    const { query } = asked;
    const chips = [
      query.photo && photoChip(query.photo, () => asked.change({ photo: "" })),
      ...query.like.map((id) => exampleChip(id, "like", () => asked.toggle("like", id))),
      ...query.unlike.map((id) => exampleChip(id, "unlike", () => asked.toggle("unlike", id))),
      ...FILTERS.flatMap((name) => query[name].map((value) => chip(t(`filters.${name}.chip`, { value: shownValue(name, value) }), () => asked.toggle(name, value)))),
      (query.after || query.before) && chip(spanText(query), () => asked.change({ after: "", before: "" })),
    ].filter(Boolean);
    const held = [...row.querySelectorAll("button")].indexOf(document.activeElement);
    row.replaceChildren(...chips);
    if (query.unlike.length && !isRanked(query)) row.append(el("span", { class: "hint", text: t("unlike.alone") }));
    if (chips.length > 1) {
      const all = { photo: "", like: [], unlike: [], tag: [], bucket: [], camera: [], format: [], after: "", before: "" };
      row.append(button({ class: "text", text: t("asked.clear"), press: () => asked.change(all) }));
    }
    row.hidden = chips.length === 0;
    // Whoever took a chip away with the keyboard goes on with the next one.
    const left = [...row.querySelectorAll("button")];
    if (held >= 0) (left[Math.min(held, left.length - 1)] ?? byId("results")).focus({ preventScroll: true });
  };
  asked.listen(draw);
  draw();
}

/** A span of days in words; `before` is exclusive. */
export function spanText({ date: which, after, before }) {
  const last = before && new Date(Date.parse(before) - 86_400_000);
  const span = after && last ? spanOf(new Date(after), last) : after ? t("dates.from", { from: date(after) }) : t("dates.until", { to: date(last) });
  return t(`dates.${which}.chip`, { span });
}

function spanOf(first, last) {
  const next = new Date(last.getTime() + 86_400_000).toISOString();
  if (first.toISOString().slice(5, 10) === "01-01" && next.slice(5, 10) === "01-01" && last.getUTCFullYear() === first.getUTCFullYear())
    return date(first, { year: "numeric" });
  const sameMonth = first.toISOString().slice(0, 7) === last.toISOString().slice(0, 7);
  if (sameMonth && first.getUTCDate() === 1 && next.slice(8, 10) === "01") return date(first, { year: "numeric", month: "long" });
  return first.getTime() === last.getTime() ? date(first) : t("dates.between", { from: date(first), to: date(last) });
}

function chip(text, remove, ...before) {
  return el(
    "span",
    { class: "chip taken" },
    ...before,
    el("span", { class: "chip-text", text }),
    button({ class: "remove", icon: "close", label: t("asked.remove", { what: text }), press: remove }),
  );
}

function exampleChip(id, towards, remove) {
  const made = chip(t(`${towards}.chip`), remove, thumbnail({ id }, { side: TINY }));
  made.classList.add("pictured", towards);
  return made;
}

function photoChip(id, remove) {
  const picture = el("span", { class: "thumb", icon: "photo" });
  const made = chip(t("photo.chip"), remove, picture);
  made.classList.add("pictured");
  recallPhoto(id).then((photo) => {
    if (!photo) return;
    const url = URL.createObjectURL(photo.blob);
    const image = el("img", { alt: "", draggable: "false" });
    image.addEventListener("load", () => {
      picture.classList.add("shown");
      URL.revokeObjectURL(url);
    });
    image.src = url;
    picture.append(image);
    made.title = photo.name;
  });
  return made;
}
