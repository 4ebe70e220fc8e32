// How an image came into the index, or why it is not there.

import { ask, Refusal } from "./api.js";
import { el } from "./elements.js";
import { hasText, moment, t } from "./texts.js";

/** Fill `section` with the timeline of an image; it stays hidden where the service knows none. */
export async function timeline(section, id, signal) {
  try {
    const answer = await ask(`v1/images/${id}/timeline`, { signal });
    section.replaceChildren(
      el("h3", { id: "timeline-title", text: t("timeline.title") }),
      el("p", { class: "hint", text: [answer.conclusion, answer.outcome === "found" ? "" : answer.remedy].filter(Boolean).join(" ") }),
      el("ol", {}, answer.steps.map(step)),
    );
    section.hidden = false;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
  }
}

function step({ step: name, at, approximate, detail }) {
  const title = hasText(`timeline.${name}`) ? t(`timeline.${name}`) : String(name).replaceAll("_", " ");
  return el(
    "li",
    { class: name === "rejected" || name === "found_gone" ? "bad" : "" },
    el("b", { text: title }),
    at && el("time", { datetime: at, text: approximate ? t("timeline.about", { time: moment(at) }) : moment(at) }),
    el("p", { text: detail }),
  );
}
