// Pictures of images: made small by the service, or a quiet placeholder where there is none.

import { currentKey } from "./access.js";
import { address, askBlob } from "./api.js";
import { onConnection } from "./connection.js";
import { el } from "./elements.js";

const SMALL = 320;
const SETTLED_MS = 120; // what is scrolled past sooner is not asked for
const TRIES = 4;
const failed = new Set();

/** A picture of an image as a box that keeps its place; `alt` "" where the name stands beside it. */
export function thumbnail(id, { alt = "", size = SMALL, eager = false } = {}) {
  const box = el("span", { class: "thumb", icon: "picture", style: { "--tint": tintOf(id) } });
  const picture = el("img", { alt, draggable: "false", decoding: "async", loading: eager ? "eager" : "lazy" });
  picture.addEventListener("load", () => box.classList.add("shown"));
  picture.addEventListener("error", () => failed.add(box));
  box.load = () => show(picture, id, size, box);
  box.append(picture);
  box.load();
  return box;
}

/** Ask again for what could not be shown while the service was away. */
onConnection(({ kind }) => {
  if (kind !== "ok") return;
  const again = [...failed].filter((box) => box.isConnected);
  failed.clear();
  for (const box of again) box.load();
});

async function show(picture, id, size, box) {
  const path = `v1/images/${id}/thumbnail`;
  if (!currentKey()) {
    picture.src = address(path, { size });
    return;
  }
  // An <img> cannot send the key.
  for (let tries = 0; tries < TRIES; tries += 1) {
    await pause(SETTLED_MS);
    if (!box.isConnected) return;
    try {
      const url = URL.createObjectURL(await askBlob(path, { parameters: { size }, patient: false }));
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
