// What is known of an image, as a list of terms and values.

import { el } from "./elements.js";
import { bytes, date, moment, number, shownValue, t } from "./texts.js";

/** A description list; what is not known is left out. */
export function factsOf(payload) {
  const { width, height, size, format, camera, taken_at, uploaded_at, indexed_at, location, model, reason, detail } = payload;
  const facts = [
    // By the camera's clock, which knows no zone.
    ["taken", taken_at && date(taken_at, { dateStyle: "long", timeStyle: "short" })],
    ["camera", camera],
    ["pixels", width && height && t("fact.pixels.value", { width, height, mega: number((width * height) / 1e6, { maximumFractionDigits: 1 }) })],
    ["file", [format && shownValue("format", format), size !== undefined && bytes(size)].filter(Boolean).join(", ")],
    ["place", location && `${location.latitude ?? location.lat}, ${location.longitude ?? location.lon}`],
    ["uploaded", uploaded_at && moment(uploaded_at)],
    ["indexed", indexed_at && moment(indexed_at)],
    ["model", model],
    ["reason", reason && [reason.replaceAll("_", " "), detail].filter(Boolean).join(": ")],
  ];
  return el(
    "dl",
    { class: "facts" },
    facts.filter(([, value]) => value).map(([name, value]) => [el("dt", { text: t(`fact.${name}`) }), el("dd", { text: value })]),
  );
}
