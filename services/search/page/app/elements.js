// Elements made of attributes and text. Nothing that came from elsewhere is ever read as HTML.

import { icon } from "./icons.js";

/** An element. `properties`: attributes, and `text`, `icon`, `on` (listeners by event), `data`, `style` (by CSS name). */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") element.append(String(value));
    else if (key === "icon") element.append(icon(value));
    else if (key === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key === "style") for (const [rule, to] of Object.entries(value)) element.style.setProperty(rule, to);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A button; `label` is its name for screen readers and its tooltip, where it shows only an icon. */
export function button({ label, press, ...properties }, ...children) {
  const named = label ? { "aria-label": label, title: label } : {};
  return el("button", { type: "button", ...named, ...properties, on: { ...properties.on, click: press } }, ...children);
}

export const byId = (id) => document.getElementById(id);

/** Whether a key pressed now belongs to a field that is being written in. */
export function isWriting(target) {
  return target instanceof Element && target.closest("input, select, textarea, [contenteditable]") !== null;
}

/** Let a row of `items()` be walked with the arrow keys, one tab stop for all. */
export function walkable(row, items, { previous = "ArrowLeft", next = "ArrowRight" } = {}) {
  row.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(document.activeElement);
    const moves = { [previous]: at - 1, [next]: at + 1, Home: 0, End: all.length - 1 };
    const to = all[moves[event.key]];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    for (const item of all) item.tabIndex = item === to ? 0 : -1;
    to.focus();
  });
}
