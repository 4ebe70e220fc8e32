// Filters as chips with counts: tags, buckets, cameras, formats. The counts follow the other filters.

import { Refusal, ask } from "./api.js";
import { button, byId, el } from "./elements.js";
import { Histogram } from "./histogram.js";
import { filterParameters } from "./requests.js";
import { FILTERS, isRanked } from "./query.js";
import { number, shownValue, t } from "./texts.js";

const FIRST = 12;
const MOST = 400;

export class Filters {
  #asked;
  #groups;
  #histogram;
  #under = null;
  #last = "";
  #counted;

  /** `counted(total)` is told how many images pass the filters. */
  constructor(asked, counted) {
    this.#asked = asked;
    this.#counted = counted;
    this.#histogram = new Histogram(asked);
    const fold = el("input", { type: "checkbox", role: "switch", id: "fold", on: { change: () => asked.change({ fold: fold.checked }) } });
    const mark = () => {
      fold.checked = asked.query.fold;
      fold.closest("section").hidden = !isRanked(asked.query);
    };
    this.#groups = FILTERS.map((name) => new Group(name, asked));
    byId("filters").append(
      this.#histogram.element,
      ...this.#groups.map((group) => group.element),
      el("section", { class: "group" }, el("label", { class: "switch" }, fold, el("i"), el("span", { text: t("fold.label") }))),
      button({ class: "go close-filters", text: t("filters.done"), press: () => byId("show-filters").click() }),
    );
    asked.listen(mark);
    asked.listen(() => this.load());
    mark();
  }

  /** Ask for the counts again where the filters changed, or `anyway`. */
  async load(anyway = false) {
    const { query } = this.#asked;
    const wanted = JSON.stringify([filterParameters(query), query.date]);
    for (const group of this.#groups) group.mark();
    if (wanted === this.#last && !anyway) return;
    this.#last = wanted;
    this.#under?.abort();
    const { signal } = (this.#under = new AbortController());
    const loads = this.#groups.map((group) => group.load(query, signal, this.#counted));
    await Promise.all([...loads, this.#histogram.load(query, signal)].map((load) => load.catch(quietly)));
    if (!signal.aborted) byId("filters").classList.remove("first");
  }
}

/** One kind of filter: its chips, most frequent first. */
class Group {
  #name;
  #asked;
  #values = [];
  #open = false;
  #wanted = "";
  #list = el("ul", { class: "chips", role: "list" });
  #field = null;
  #toggle;

  constructor(name, asked) {
    this.#name = name;
    this.#asked = asked;
    this.#toggle = button({ class: "text", "aria-expanded": "false", hidden: true, press: () => this.#expand() });
    this.#field = el("input", {
      type: "search", class: "narrow", hidden: true, "aria-label": t(`filters.${name}.narrow`), placeholder: t(`filters.${name}.narrow`),
      on: { input: () => ((this.#wanted = this.#field.value.trim().toLowerCase()), this.#draw()) },
    });
    this.element = el(
      "section",
      { class: "group", hidden: true, "aria-labelledby": `filter-${name}` },
      el("h2", { id: `filter-${name}`, text: t(`filters.${name}`) }),
      this.#field,
      this.#list,
      this.#toggle,
    );
  }

  async load(query, signal, counted) {
    if (this.#name === "tag") {
      const answer = await ask("v1/tags", { parameters: filterParameters(query), signal });
      counted(answer.images);
      this.#values = answer.tags.map(({ tag, count }) => ({ value: tag, count }));
    } else {
      // Any one of several will do, so each value's count is what choosing it would add.
      const parameters = { field: this.#name, ...filterParameters(query, this.#name) };
      this.#values = (await ask("v1/facets", { parameters, signal })).values;
    }
    this.#values = this.#values.slice(0, MOST);
    this.#draw();
  }

  /** Show which are chosen now. */
  mark() {
    if (this.#values.length) this.#draw();
  }

  #expand() {
    this.#open = !this.#open;
    this.#draw();
  }

  #draw() {
    const chosen = this.#asked.query[this.#name];
    const known = new Set(this.#values.map(({ value }) => value));
    const all = [...chosen.filter((value) => !known.has(value)).map((value) => ({ value, count: 0 })), ...this.#values];
    const fitting = this.#wanted ? all.filter(({ value }) => value.toLowerCase().includes(this.#wanted)) : all;
    const shown = this.#open || this.#wanted ? fitting : fitting.filter(({ value }, at) => at < FIRST || chosen.includes(value));
    // A kind that says nothing (one bucket for all) is not worth its place.
    this.element.hidden = all.length < (chosen.length || this.#name === "tag" ? 1 : 2);
    this.#field.hidden = all.length <= FIRST * 2;
    this.#toggle.hidden = all.length <= FIRST || Boolean(this.#wanted);
    this.#toggle.textContent = this.#open ? t("filters.fewer") : t("filters.all", { n: all.length });
    this.#toggle.setAttribute("aria-expanded", String(this.#open));
    const focused = this.#list.contains(document.activeElement) ? document.activeElement.dataset.value : null;
    this.#list.replaceChildren(...shown.map(({ value, count }) => this.#chip(value, count, chosen.includes(value))));
    if (focused !== null) [...this.#list.querySelectorAll("button")].find((one) => one.dataset.value === focused)?.focus();
  }

  #chip(value, count, pressed) {
    const text = shownValue(this.#name, value);
    const label = t("filters.chip.label", { value: text, n: count });
    const press = () => this.#asked.toggle(this.#name, value);
    return el(
      "li",
      {},
      button({ class: "chip", "aria-pressed": String(pressed), "aria-label": label, data: { value }, press }, el("span", { class: "chip-text", text }), el("small", { text: number(count) })),
    );
  }
}

// Filters are a help: where they cannot be counted, the results say what is wrong.
function quietly(error) {
  if (!(error instanceof Refusal) && error?.name !== "AbortError") throw error;
}
