// How the service is doing: counts, what it waits for, how fast it goes, and what it could not use.

import { ask, Refusal } from "./api.js";
import { byId, el } from "./elements.js";
import { Failures } from "./failures.js";
import { ago, moment, number, t } from "./texts.js";

const EVERY_MS = 2000;
const FAILURES_EVERY = 5; // polls
const REMEMBERED = 90; // polls: three minutes

export class Operations {
  #view = byId("operations");
  #tiles = el("dl", { class: "numbers" });
  #speed = el("section", { class: "panel speed", "aria-labelledby": "speed-title" });
  #state = el("section", { class: "panel", "aria-labelledby": "state-title" });
  #stated = "";
  #failures;
  #polls = [];
  #timer = null;
  #turn = 0;

  /** `open(image)` shows what is known of a file that could not be used; `access` is what the key allows. */
  constructor(open, access) {
    this.#failures = new Failures(open);
    this.#view.append(
      el("h1", { text: t("nav.operations") }),
      this.#tiles,
      el("div", { class: "panels" }, this.#speed, this.#state),
      this.#failures.element,
    );
    document.addEventListener("visibilitychange", () => this.look());
    access.then((allowed) => (this.#failures.allowed = allowed?.scopes.includes("admin") ?? true));
  }

  /** Ask, and go on asking while this view is what the person sees. */
  async look() {
    clearTimeout(this.#timer);
    const mine = (this.#turn += 1);
    for (let polls = 0; mine === this.#turn && !document.hidden && !this.#view.hidden; polls += 1) {
      try {
        const status = await ask("v1/status");
        if (mine !== this.#turn) return;
        this.#show(status);
        if (polls % FAILURES_EVERY === 0) await this.#failures.load(status.rejected);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.#stated = "";
        this.#state.replaceChildren(el("p", { text: error.detail }), el("p", { class: "hint", text: error.remedy }));
        return;
      }
      await new Promise((resolve) => (this.#timer = setTimeout(resolve, EVERY_MS)));
    }
  }

  #show(status) {
    this.#polls.push({ at: performance.now(), status });
    this.#polls = this.#polls.slice(-REMEMBERED);
    const figure = (name, value, bad) => el("div", { class: bad ? "bad" : "" }, el("dt", { text: t(`number.${name}`) }), el("dd", { text: value }));
    const known = (value) => (typeof value === "number" ? number(value) : "–");
    this.#tiles.replaceChildren(
      figure("indexed", known(status.indexed)),
      figure("waiting", known(status.waiting)),
      figure("rejected", known(status.rejected), status.rejected > 0),
      figure("gone", known(status.gone)),
    );
    this.#showSpeed();
    this.#showState(status);
  }

  // What came in between two polls. Images embedded anew change no count, so they do not show.
  #rates() {
    const done = ({ status }) => status.indexed + status.rejected + status.gone;
    return this.#polls.slice(1).map((poll, at) => {
      const before = this.#polls[at];
      return Math.max(0, done(poll) - done(before)) / ((poll.at - before.at) / 1000);
    });
  }

  #showSpeed() {
    const rates = this.#rates();
    const recent = rates.slice(-5);
    const now = recent.length ? recent.reduce((sum, rate) => sum + rate, 0) / recent.length : 0;
    const most = Math.max(1, ...rates);
    const waiting = this.#polls.at(-1).status.waiting;
    const left = waiting && now > 0 ? t("speed.left", { span: spanOf(waiting / now) }) : waiting === 0 ? t("speed.nothing") : "";
    this.#speed.replaceChildren(
      el("h2", { id: "speed-title", text: t("speed.title") }),
      el("p", { class: "big" }, number(now, { maximumFractionDigits: now < 10 ? 1 : 0 }), el("small", { text: t("speed.unit") })),
      el("div", { class: "spark", "aria-hidden": "true" }, rates.map((rate) => el("i", { style: { "--share": rate / most } }))),
      el("p", { class: "hint", text: left || t("speed.hint") }),
    );
  }

  #showState(status) {
    const waits = status.waiting_for ?? [];
    // A process tells what its own stages wait for: of those in other processes it knows nothing.
    const sees = ["embedder", "indexer"].every((stage) => status.runs?.includes(stage));
    const facts = [
      ["source", status.source],
      ["runs", status.runs?.join(", ")],
      ["model", status.model],
      ["device", status.device],
      ["since", status.since && `${moment(status.since)} (${ago(status.since)})`],
      ["release", status.release],
      ["reconcile", status.last_reconcile && t("state.reconcile.value", { ...status.last_reconcile, refused: status.last_reconcile.refused ?? 0 })],
    ].filter(([, value]) => value);
    const list = el("dl", { class: "facts" }, facts.map(([name, value]) => [el("dt", { text: t(`state.${name}`) }), el("dd", { text: value })]));
    const spoken = JSON.stringify([waits, sees]);
    if (spoken === this.#stated) {
      this.#state.querySelector("dl").replaceWith(list); // what was spoken is not spoken again at every poll
      return;
    }
    this.#stated = spoken;
    this.#state.replaceChildren(
      el("h2", { id: "state-title", text: t("state.title") }),
      waits.length
        ? el("div", { class: "waits", role: "status" }, el("b", { text: t("state.waits") }), el("ul", {}, waits.map((one) => el("li", { text: one }))))
        : el("p", sees ? { class: "well", icon: "done" } : { class: "hint" }, t(sees ? "state.well" : "state.elsewhere")),
      list,
    );
  }
}

function spanOf(seconds) {
  if (seconds < 90) return t("span.seconds", { n: Math.ceil(seconds) });
  return seconds < 5400 ? t("span.minutes", { n: Math.round(seconds / 60) }) : t("span.hours", { n: Math.round(seconds / 3600) });
}
