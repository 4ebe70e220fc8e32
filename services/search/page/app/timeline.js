// How an image came into the index, or why it is not there.

import { ask, Refusal } from "./api.js";
import { el } from "./elements.js";
import { hasText, moment, t } from "./texts.js";

/** Fill `section` with the timeline of an image; it stays hidden where the service knows none. */
export async function timeline(section, id, signal) {
  try {
    const answer = await ask(`v1/images/${id}/timeline`, { signal });
    section.replaceChildren(el("h3", { id: "timeline-title", text: t("timeline.title") }), el("ol", {}, answer.steps.map(step)));
    section.hidden = false;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
  }
}

function step({ step: name, at, text, ok }) {
  const title = hasText(`timeline.${name}`) ? t(`timeline.${name}`) : String(name).replaceAll("_", " ");
  return el(
    "li",
    { class: ok === false ? "bad" : "" },
    el("b", { text: title }),
    at ? el("time", { datetime: at, text: moment(at) }) : null,
    text ? el("p", { text }) : null,
  );
}
