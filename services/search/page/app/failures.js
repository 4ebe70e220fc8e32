// What could not be used: files by reason, each with what was found, and a way to have it looked at again.

import { ask, Refusal } from "./api.js";
import { button, el } from "./elements.js";
import { icon } from "./icons.js";
import { ago, number, t } from "./texts.js";

const SHOWN = 50;

export class Failures {
  #open;
  #allowed = true;
  #answers = new Map();
  #known = "";
  #chips = el("ul", { role: "list", class: "chips" });
  #rows = el("tbody");
  #table = el(
    "table",
    {},
    el("caption", { class: "unseen", text: t("failures.title") }),
    el("thead", {}, el("tr", {}, ["file", "reason", "when"].map((name) => el("th", { scope: "col", text: t(`failures.${name}`) })), el("td"))),
    this.#rows,
  );
  #none = el("p", { class: "hint", text: t("failures.none") });
  #all = button({ class: "quiet", icon: "retry", press: () => this.#retryAll() });
  #said = el("p", { class: "hint", role: "status" });

  /** `open(image)` shows what is known of one. */
  constructor(open) {
    this.#open = open;
    this.element = el(
      "section",
      { class: "panel failures", "aria-labelledby": "failures-title" },
      el("div", { class: "group-head" }, el("h2", { id: "failures-title", text: t("failures.title") }), this.#all),
      this.#said,
      this.#chips,
      this.#none,
      el("div", { class: "scrolls", tabindex: "0", role: "region", "aria-labelledby": "failures-title" }, this.#table),
    );
    this.#table.hidden = this.#all.hidden = true;
  }

  /** Whether the key allows to have files looked at again. */
  set allowed(allowed) {
    this.#allowed = allowed;
    this.#known = "";
    this.#said.textContent = allowed ? "" : t("failures.scope");
  }

  /** Ask what was rejected; `count` is how many the status knows of. */
  async load(count) {
    try {
      const rejected = { status: "rejected" };
      const [reasons, page] = await Promise.all([
        count ? ask("v1/facets", { parameters: { field: "reason" } }) : { values: [] },
        count ? ask("v1/images", { parameters: { limit: SHOWN, ...rejected, sort: "newest_indexed" } }) : { images: [] },
      ]);
      this.#show(reasons.values, page.images);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#none.textContent = `${error.detail} ${error.remedy}`;
      this.#none.hidden = false;
    }
  }

  #show(reasons, images) {
    const now = JSON.stringify([reasons, images.map(({ id, version }) => [id, version])]);
    if (now === this.#known) return; // whoever reads or presses something is not disturbed
    this.#known = now;
    const count = reasons.reduce((sum, reason) => sum + reason.count, 0);
    this.#all.replaceChildren(icon("retry"), t("failures.all", { n: count }));
    this.#all.hidden = !count || !this.#allowed;
    this.#none.hidden = count > 0;
    this.#none.textContent = t("failures.none");
    this.#table.hidden = !images.length;
    this.#chips.replaceChildren(
      ...reasons.map(({ value, count }) => el("li", {}, el("span", { class: "chip still" }, el("span", { class: "chip-text", text: inWords(value) }), el("small", { text: number(count) })))),
    );
    this.#rows.replaceChildren(...images.map((image) => this.#row(image)));
  }

  async #retryAll() {
    this.#all.disabled = true;
    let sent = 0;
    try {
      let cursor = null;
      do {
        const answer = await ask("v1/failures/retry", { method: "POST", parameters: { cursor }, patient: false });
        sent += answer.sent;
        cursor = answer.next_cursor;
        this.#said.textContent = t("failures.sent", { n: sent });
      } while (cursor);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#said.textContent = error.status === 0 ? t("retry.away") : `${error.detail} ${error.remedy}`;
    } finally {
      this.#all.disabled = false;
    }
  }

  #row(image) {
    const { id, key, version, payload } = image;
    const answer = el("span", { class: "hint", role: "status", text: this.#answers.get(`${id} ${version}`) ?? "" });
    const again = button({
      class: "quiet",
      icon: "retry",
      "aria-label": t("retry.of", { name: key }),
      press: async () => {
        again.disabled = true;
        answer.textContent = await retry(id);
        this.#answers.set(`${id} ${version}`, answer.textContent);
        again.disabled = false;
      },
    }, t("retry"));
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, button({ class: "key", text: key, "aria-label": t("failures.open", { name: key }), press: () => this.#open(image) }), el("small", { text: payload.bucket })),
      el("td", {}, el("b", { text: inWords(payload.reason ?? "") }), el("p", { text: payload.detail ?? "" })),
      el("td", {}, el("time", { datetime: payload.indexed_at, text: ago(payload.indexed_at) })),
      el("td", {}, this.#allowed && again, answer),
    );
  }
}

async function retry(id) {
  try {
    await ask(`v1/images/${id}/retry`, { method: "POST", patient: false });
    return t("retry.done");
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return error.status === 0 ? t("retry.away") : `${error.detail} ${error.remedy}`;
  }
}

const inWords = (reason) => reason.replaceAll("_", " ");
