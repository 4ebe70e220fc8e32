// One result in the grid: its picture, how well it fits, its tags, and what can be done with it.

import { button, el } from "./elements.js";
import { number, percent, t } from "./texts.js";
import { thumbnail } from "./thumbnails.js";

/** The last part of a key: what a person calls the file. */
export const nameOf = (key) => key.split("/").pop();

/** The tags of an image, best first. */
export const tagsOf = (payload) => [...(payload.tags ?? [])].sort((one, other) => other.score - one.score);

/** A tile as a list item; `side` is the longer side of its picture, in CSS pixels. */
export function tile(result, side, { open, steer, duplicates }) {
  const { id, key, payload } = result;
  const name = nameOf(key);
  const tags = tagsOf(payload).slice(0, 3);
  return el(
    "li",
    { class: "tile" },
    button(
      { class: "open", "aria-label": spoken(result, tags), press: () => open(result) },
      thumbnail(result, { side }),
    ),
    el(
      "div",
      { class: "acts" },
      button({ class: "act", icon: "plus", label: t("like.of", { name }), press: () => steer(id, "like") }),
      button({ class: "act", icon: "minus", label: t("unlike.of", { name }), press: () => steer(id, "unlike") }),
    ),
    result.duplicates
      ? button(
          { class: "copies", icon: "copies", label: t("duplicates.show", { n: result.duplicates, name }), press: () => duplicates(result) },
          `+${number(result.duplicates)}`,
        )
      : null,
    el(
      "div",
      { class: "caption", "aria-hidden": "true" },
      fit(result),
      el("span", { class: "says", title: key, text: tags.length ? tags.map(({ tag }) => tag).join(" · ") : name }),
    ),
  );
}

/** How well a result fits: a share of a bar where it could be calibrated, else the bare cosine; nothing in listings. */
export function fit({ relevance, score }) {
  if (score === undefined || score === null) return null;
  const cosine = t("score.cosine", { score: number(score, { maximumFractionDigits: 3, minimumFractionDigits: 3 }) });
  if (relevance === null || relevance === undefined) return el("span", { class: "fit", title: cosine, text: number(score, { maximumFractionDigits: 2, minimumFractionDigits: 2 }) });
  return el("span", { class: "fit", title: cosine }, el("i", { class: "meter", style: { "--share": relevance } }), percent(relevance));
}

function spoken({ key, relevance, score }, tags) {
  const parts = [key];
  if (relevance !== null && relevance !== undefined) parts.push(t("score.spoken", { share: percent(relevance) }));
  else if (score !== undefined && score !== null) parts.push(t("score.cosine", { score: number(score, { maximumFractionDigits: 3 }) }));
  if (tags.length) parts.push(tags.map(({ tag }) => tag).join(", "));
  return parts.join("; ");
}
