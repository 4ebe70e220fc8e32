// One image: large, with all that is known of it, its near-duplicates, and how it came into the index.

import { ask, Refusal, address, askBlob } from "./api.js";
import { currentKey } from "./access.js";
import { button, byId, el } from "./elements.js";
import { factsOf } from "./facts.js";
import { fetchAlike } from "./requests.js";
import { fit, nameOf, tagsOf } from "./tile.js";
import { ratioOf } from "./rows.js";
import { percent, t } from "./texts.js";
import { FILM, thumbnail } from "./thumbnails.js";
import { timeline } from "./timeline.js";

const LARGE = 1024;
const UUID = /^#image=([0-9a-f-]{36})$/i;

/** The id of the image that the address shows, or null. */
export const imageInAddress = () => UUID.exec(location.hash)?.[1].toLowerCase() ?? null;

export class Details {
  #dialog = byId("details");
  #asked;
  #grid;
  #under = null;
  #id = null;

  constructor(asked, grid) {
    this.#asked = asked;
    this.#grid = grid;
    this.#dialog.addEventListener("close", () => this.#closed());
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    addEventListener("popstate", () => this.followAddress());
  }

  /** Show an image; Back closes it. */
  open(result, { duplicates = false } = {}) {
    history.pushState({ ...history.state, opened: true }, "", `${location.pathname}${location.search}#image=${result.id}`);
    this.#show(result.id, result, duplicates);
  }

  /** Show, change or close what the address names: after Back, after a reload, from a shared link. */
  followAddress() {
    const id = imageInAddress();
    if (id === this.#id) return;
    if (id) this.#show(id, this.#grid().results[this.#grid().indexOf(id)] ?? null);
    else if (this.#dialog.open) this.#dialog.close();
  }

  async #show(id, result, duplicates = false) {
    this.#id = id;
    this.#under?.abort();
    const { signal } = (this.#under = new AbortController());
    if (result) this.#draw(result);
    else this.#frame(el("p", { id: "details-title", class: "hint pad", text: t("details.waiting") }));
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#hold();
    try {
      const known = result ?? (await ask(`v1/images/${id}`, { parameters: { status: "any" }, signal }));
      if (!result) this.#draw(known);
      const near = result?.duplicates ? this.#near(known, result.duplicates, signal, duplicates) : null;
      await Promise.all([near, timeline(this.#dialog.querySelector(".timeline"), id, signal)]);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refusal)) throw error;
      this.#frame(el("div", { class: "pad" }, el("h2", { id: "details-title", text: t("details.gone") }), el("p", { text: error.detail }), el("p", { class: "hint", text: error.remedy })));
    }
  }

  #frame(...content) {
    const at = this.#grid().indexOf(this.#id);
    const step = (by, icon, label) =>
      button({ class: "icon step", icon, label, disabled: !this.#grid().results[at + by] || at < 0, data: { by }, press: () => this.#step(by) });
    this.#dialog.replaceChildren(
      el(
        "div",
        { class: "details-head" },
        step(-1, "left", t("details.previous")),
        step(1, "right", t("details.next")),
        button({ class: "icon close", icon: "close", label: t("details.close"), press: () => this.#dialog.close() }),
      ),
      ...content,
    );
    if (this.#dialog.open) this.#hold();
  }

  // What had the focus was replaced: the keys would be heard by nobody.
  #hold() {
    this.#dialog.querySelector(".close").focus();
  }

  #draw(result) {
    const { id, key, payload } = result;
    const name = nameOf(key);
    const folder = key.slice(0, key.length - name.length);
    const steer = (towards) => () => {
      this.#dialog.close();
      this.#asked.steer(id, towards);
    };
    const picture = thumbnail(result, { alt: t("details.picture", { name }), side: LARGE });
    picture.style.setProperty("--ratio", ratioOf(payload));
    const score = fit(result);
    this.#frame(
      el("div", { class: "large" }, picture),
      el(
        "div",
        { class: "about" },
        el("h2", { id: "details-title", text: name }),
        el("p", { class: "hint path", text: `${payload.bucket ?? ""}/${folder}` }),
        score && el("p", { class: "how-well" }, score, el("span", { class: "hint", text: score.title })),
        payload.status === "indexed" &&
          el(
            "div",
            { class: "row" },
            button({ class: "go like-this", icon: "plus", press: steer("like") }, t("like")),
            button({ class: "quiet", icon: "minus", press: steer("unlike") }, t("unlike")),
            this.#original(id, name),
          ),
        this.#tags(payload),
        el("section", { class: "near", hidden: true, "aria-labelledby": "near-title" }, el("h3", { id: "near-title" }), el("ul", { role: "list", class: "film" })),
        el("h3", { text: t("details.facts") }),
        factsOf(payload),
        el("section", { class: "timeline", "aria-labelledby": "timeline-title", hidden: true }),
        el("details", {}, el("summary", { text: t("details.payload") }), el("pre", { tabindex: "0", text: JSON.stringify({ id, ...payload }, null, 2) })),
      ),
    );
  }

  #tags(payload) {
    const tags = tagsOf(payload);
    if (!tags.length) return null;
    const chip = ({ tag, score }) => {
      const press = () => {
        this.#dialog.close();
        if (!this.#asked.query.tag.includes(tag)) this.#asked.toggle("tag", tag);
      };
      return el("li", {}, button({ class: "chip", label: t("details.tag", { tag, score: percent(score) }), press }, el("span", { class: "chip-text", text: tag }), el("small", { text: percent(score) })));
    };
    return el("ul", { role: "list", class: "chips", "aria-label": t("filters.tag") }, tags.map(chip));
  }

  #original(id, name) {
    const path = `v1/images/${id}/original`;
    const shown = { class: "quiet button", title: t("details.original.title"), target: "_blank", rel: "noopener" };
    const link = el("a", { ...shown, href: address(path), icon: "external" }, t("details.original"));
    const said = el("p", { class: "hint", role: "alert" });
    // A link cannot send the key, and a script may follow no redirect to the store: it asks where the store has it.
    link.addEventListener("click", async (event) => {
      if (!currentKey()) return;
      event.preventDefault();
      said.textContent = "";
      try {
        const { link: there } = await ask(path, { parameters: { link: true }, patient: false });
        if (there) el("a", { href: there, target: "_blank", rel: "noopener noreferrer" }).click();
        else save(await askBlob(path, { patient: false }), name);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        said.textContent = `${error.detail} ${error.remedy}`;
      }
    });
    return [link, said];
  }

  async #near(image, count, signal, scroll) {
    const found = await fetchAlike(image.id, Math.min(count, 60), signal);
    const section = this.#dialog.querySelector(".near");
    if (!section || !found.length) return;
    section.querySelector("h3").textContent = t("duplicates.title", { n: count });
    section.querySelector("ul").replaceChildren(
      ...found.map((one) => el("li", {}, button({ label: t("strip.open", { name: one.key }), press: () => this.#swap(one) }, thumbnail(one, { side: FILM })))),
    );
    section.hidden = false;
    if (scroll) section.scrollIntoView({ block: "nearest" });
  }

  #step(by) {
    const next = this.#grid().results[this.#grid().indexOf(this.#id) + by];
    if (!next) return;
    this.#swap(next);
    (this.#dialog.querySelector(`[data-by="${by}"]:not(:disabled)`) ?? this.#dialog.querySelector(".close")).focus();
  }

  #swap(result) {
    history.replaceState(history.state, "", `${location.pathname}${location.search}#image=${result.id}`);
    this.#show(result.id, result);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("pre, input")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) this.#step(by);
    const steer = { "+": "like", "-": "unlike" }[event.key];
    if (!steer || !this.#dialog.querySelector(".like-this")) return;
    const id = this.#id;
    this.#dialog.close();
    this.#asked.steer(id, steer);
  }

  #closed() {
    const id = this.#id;
    this.#id = null;
    this.#under?.abort();
    this.#dialog.replaceChildren();
    const at = this.#grid().indexOf(id);
    if (at >= 0) this.#grid().focus(at);
    if (!imageInAddress()) return;
    if (history.state?.opened) this.#asked.leave();
    else history.replaceState(history.state, "", location.pathname + location.search);
  }
}

// The bytes that were fetched with the key, as a download from memory.
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
