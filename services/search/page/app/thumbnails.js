// Pictures of images: made small by the service, or a quiet placeholder where there is none.

import { currentKey } from "./access.js";
import { address, askBlob } from "./api.js";
import { onConnection } from "./connection.js";
import { el } from "./elements.js";

const STEPS = [64, 128, 320, 640, 1024]; // what the service makes
/** The longer side of a picture in a film strip, whose squares of 64 are cut from the middle. */
export const FILM = 96;

const SETTLED_MS = 120; // what is scrolled past sooner is not asked for
const TRIES = 4;
const failed = new Set();

/**
 * A picture of an image as a box that keeps its place. `side` is the longer side as shown, in CSS pixels; with the
 * image's `etag` the browser may keep it. `alt` is "" where the name stands beside it.
 */
export function thumbnail({ id, payload }, { side, alt = "" }) {
  const wanted = side * (devicePixelRatio || 1) * 0.9;
  const parameters = { size: STEPS.find((step) => step >= wanted) ?? STEPS.at(-1), etag: payload?.etag };
  const box = el("span", { class: "thumb", icon: "picture", style: { "--tint": tintOf(id) } });
  if (payload && payload.status !== "indexed") return box; // rejected or gone: there is nothing to draw
  const picture = el("img", { alt, draggable: "false", decoding: "async", loading: "lazy" });
  picture.addEventListener("load", () => box.classList.add("shown"));
  picture.addEventListener("error", () => failed.add(box));
  box.load = () => show(picture, `v1/images/${id}/thumbnail`, parameters, box);
  box.append(picture);
  box.load();
  return box;
}

/** Take an element away; pictures in it that are still on their way are called off, for those that are looked at now. */
export function discard(element) {
  for (const picture of element.querySelectorAll(".thumb:not(.shown) img")) picture.removeAttribute("src");
  element.remove();
}

/** Ask again for what could not be shown while the service was away. */
onConnection(({ kind }) => {
  if (kind !== "ok") return;
  const again = [...failed].filter((box) => box.isConnected);
  failed.clear();
  for (const box of again) box.load();
});

async function show(picture, path, parameters, box) {
  if (!currentKey()) {
    picture.src = address(path, parameters);
    return;
  }
  // An <img> cannot send the key.
  for (let tries = 0; tries < TRIES; tries += 1) {
    await pause(SETTLED_MS);
    if (!box.isConnected) return;
    try {
      const url = URL.createObjectURL(await askBlob(path, { parameters, patient: false }));
      picture.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      picture.src = url;
      return;
    } catch (refusal) {
      if (refusal.status !== 429) break;
      await pause((refusal.retryAfter ?? 1) * 1000 * (1 + Math.random()));
    }
  }
  failed.add(box);
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const tintOf = (id) => String(Number.parseInt(id.slice(0, 4), 16) % 360);
