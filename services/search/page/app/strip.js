// What was just indexed, live. Nothing is asked for while the page is hidden or shows something else.

import { Refusal, ask } from "./api.js";
import { button, byId, el } from "./elements.js";
import { isFiltered, isRanked } from "./query.js";
import { nameOf } from "./tile.js";
import { ago, t } from "./texts.js";
import { FILM, thumbnail } from "./thumbnails.js";

const EVERY_MS = 4000;
const SHOWN = 18;
const FRESH_MS = 120_000;

/** Keep the strip true; `open(result)` shows one, `arrived()` is told when there are new ones. */
export function liveStrip(asked, { open, arrived }) {
  const strip = byId("strip");
  const when = el("span", { class: "hint" });
  const list = el("ul", { role: "list", class: "film" });
  const pulse = el("i", { class: "pulse", "aria-hidden": "true" });
  strip.append(el("div", { class: "strip-head" }, pulse, el("h2", { text: t("strip.title") }), when), list);
  let known = null;
  let newest = null;
  let timer = null;
  let turn = 0;
  const wanted = () => !document.hidden && !byId("search").hidden && !isRanked(asked.query) && !isFiltered(asked.query);

  const look = async () => {
    clearTimeout(timer);
    const mine = (turn += 1);
    strip.hidden = !wanted() || known?.size === 0;
    if (!wanted()) return;
    try {
      const { images } = await ask("v1/images", { parameters: { sort: "newest_indexed", limit: SHOWN } });
      if (mine !== turn) return;
      show(images);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      strip.hidden = true;
      return; // refused for good, so not asked again until something changes
    }
    timer = setTimeout(look, EVERY_MS);
  };

  function show(images) {
    const fresh = known === null ? [] : images.filter(({ id, version }) => known.get(id) !== version);
    if (known === null || fresh.length || images.length !== known.size) {
      const old = new Map([...list.children].map((item) => [item.dataset.is, item]));
      list.replaceChildren(...images.map((image) => old.get(`${image.id} ${image.version}`) ?? item(image, fresh.includes(image))));
    }
    known = new Map(images.map(({ id, version }) => [id, version]));
    newest = images[0]?.payload.indexed_at ?? null;
    when.textContent = newest ? ago(newest) : "";
    pulse.classList.toggle("live", newest !== null && Date.now() - Date.parse(newest) < FRESH_MS);
    strip.hidden = !wanted() || !images.length;
    if (fresh.length) arrived();
  }

  function item(image, isNew) {
    const name = nameOf(image.key);
    return el(
      "li",
      { class: isNew ? "new" : "", data: { is: `${image.id} ${image.version}` } },
      button({ label: t("strip.open", { name }), press: () => open(image) }, thumbnail(image, { side: FILM })),
    );
  }

  asked.listen(look);
  document.addEventListener("visibilitychange", look);
  addEventListener("hashchange", look);
  return look();
}
