// Images by date. A bar is pressed, or several are brushed over, to narrow the results to that time; then the
// bars show that time in finer steps.

import { ask } from "./api.js";
import { button, el, walkable } from "./elements.js";
import { filterParameters } from "./requests.js";
import { barsOf, endOf, isoDay, spanName, unitFor } from "./spans.js";
import { t } from "./texts.js";

const DAY = 86_400_000;
const UNITS = ["year", "month", "day"];

export class Histogram {
  #asked;
  #bars = [];
  #per = "month";
  #brush = null;
  #row = el("div", { class: "bars", role: "group" });
  #from = el("span");
  #to = el("span");
  #after;
  #before;
  #which;
  #whole;

  constructor(asked) {
    this.#asked = asked;
    this.#after = this.#dayField("dates.after", () => asked.change({ after: this.#after.value }));
    this.#before = this.#dayField("dates.before", () =>
      asked.change({ before: this.#before.value ? isoDay(Date.parse(this.#before.value) + DAY) : "" }),
    );
    this.#which = el(
      "select",
      { class: "small", "aria-label": t("dates.which"), on: { change: () => asked.change({ date: this.#which.value, after: "", before: "" }) } },
      ["taken", "uploaded"].map((which) => el("option", { value: which, text: t(`dates.${which}`) })),
    );
    this.#whole = button({ class: "text", text: t("dates.all"), press: () => asked.change({ after: "", before: "" }) });
    this.element = el(
      "section",
      { class: "group dates", hidden: true, "aria-labelledby": "dates-title" },
      el("div", { class: "group-head" }, el("h2", { id: "dates-title", text: t("dates.title") }), this.#which),
      this.#row,
      el("div", { class: "ends", "aria-hidden": "true" }, this.#from, this.#to),
      el("div", { class: "days" }, this.#after, el("span", { "aria-hidden": "true", text: "–" }), this.#before),
      this.#whole,
    );
    walkable(this.#row, () => [...this.#row.children]);
    this.#row.addEventListener("pointerdown", (event) => this.#start(event));
    addEventListener("pointermove", (event) => this.#move(event));
    addEventListener("pointerup", () => this.#end());
    addEventListener("pointercancel", () => this.#stop());
  }

  /** Ask for the counts: by year first, then in finer steps where the time is short enough. */
  async load(query, signal) {
    const parameters = { ...filterParameters(query), date: query.date };
    let per = query.after && query.before ? unitFor(query.after, query.before) : "year";
    let rows = await this.#rows({ ...parameters, per }, signal);
    for (;;) {
      const finer = rows.length ? unitFor(rows[0].from, endOf(per, rows.at(-1).from)) : per;
      if (UNITS.indexOf(finer) <= UNITS.indexOf(per)) break;
      per = finer;
      rows = await this.#rows({ ...parameters, per }, signal);
    }
    this.#per = per;
    this.#bars = barsOf(rows, per);
    this.#draw(query);
  }

  async #rows(parameters, signal) {
    const { rows } = await ask("v1/statistics", { parameters, signal });
    return rows.filter(({ from, count }) => from && count > 0).sort((one, other) => (one.from < other.from ? -1 : 1));
  }

  #draw(query) {
    const chosen = Boolean(query.after || query.before);
    const held = [...this.#row.children, chosen ? null : this.#whole].includes(document.activeElement);
    const most = Math.max(1, ...this.#bars.map(({ count }) => count));
    this.element.hidden = !this.#bars.length && !chosen && query.date === "taken" && this.element.hidden;
    this.#which.value = query.date;
    this.#after.value = query.after;
    this.#before.value = query.before ? isoDay(Date.parse(query.before) - DAY) : "";
    this.#whole.hidden = !chosen;
    this.#row.setAttribute("aria-label", t("dates.bars"));
    this.#row.replaceChildren(
      ...this.#bars.map(({ from, to, count }, at) => {
        const label = t("dates.bar", { span: spanName(this.#per, from), n: count });
        return button(
          { class: "bar-of", "aria-label": label, title: label, tabindex: at ? -1 : 0, data: { at }, press: (event) => event.detail === 0 && this.#choose(from, to) },
          el("i", { style: { "--share": count ? Math.max(0.04, Math.sqrt(count / most)) : 0 } }),
        );
      }),
    );
    if (!this.#bars.length) this.#row.append(el("p", { class: "hint", text: t(`dates.none.${query.date}`) }));
    if (held) (this.#row.querySelector("button") ?? this.#which).focus({ preventScroll: true });
    this.#from.textContent = this.#bars.length ? spanName(this.#per, this.#bars[0].from) : "";
    this.#to.textContent = this.#bars.length > 1 ? spanName(this.#per, this.#bars.at(-1).from) : "";
  }

  #choose(from, to) {
    this.#asked.change({ after: isoDay(from), before: isoDay(to) });
  }

  #dayField(key, change) {
    return el("input", { type: "date", class: "small", "aria-label": t(key), title: t(key), on: { change } });
  }

  #barUnder(event) {
    const bars = [...this.#row.querySelectorAll("button")];
    const found = bars.findIndex((bar) => event.clientX <= bar.getBoundingClientRect().right);
    return found < 0 ? bars.length - 1 : found;
  }

  #start(event) {
    if (event.button !== 0 || !this.#bars.length) return;
    const at = this.#barUnder(event);
    this.#brush = { from: at, to: at };
    this.#paint();
  }

  #move(event) {
    if (!this.#brush) return;
    this.#brush.to = this.#barUnder(event);
    this.#paint();
  }

  #end() {
    if (!this.#brush) return;
    const [first, last] = [this.#brush.from, this.#brush.to].sort((one, other) => one - other);
    this.#stop();
    this.#choose(this.#bars[first].from, this.#bars[last].to);
  }

  #stop() {
    if (!this.#brush) return;
    this.#brush = null;
    this.#paint();
  }

  #paint() {
    const [first, last] = this.#brush ? [this.#brush.from, this.#brush.to].sort((one, other) => one - other) : [-1, -2];
    [...this.#row.children].forEach((bar, at) => bar.classList.toggle("brushed", at >= first && at <= last));
  }
}
