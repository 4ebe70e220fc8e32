// From a query to the grid: the first page, further pages, and what to say where there is none.

import { Refusal } from "./api.js";
import { changeKey } from "./access.js";
import { button, byId, el } from "./elements.js";
import { Grid, waitingTiles } from "./grid.js";
import { isFiltered, isRanked, NOTHING } from "./query.js";
import { fetchResults, PhotoGone } from "./requests.js";
import { number, t } from "./texts.js";

const VISITS_KEPT = 6;
const PATIENCE_MS = 180; // shorter waits show nothing: a flash is worse

export class Results {
  #asked;
  #grid;
  #visits = new Map();
  #under = null;
  #next = null;
  #took = null;
  #total = null;
  #loading = false;
  #stuck = false; // the last page was refused: scrolling does not ask again, the button does
  #visit;
  #scroll = 0;

  constructor(asked, acts) {
    this.#asked = asked;
    this.#visit = asked.visit;
    this.#grid = new Grid(byId("grid"), { ...acts, near: () => this.#stuck || this.more() });
    byId("more").addEventListener("click", () => this.more());
    asked.listen(({ came }) => this.load(came));
    history.scrollRestoration = "manual";
    // When Back is pressed the browser may have scrolled already; what counts is where it was before.
    addEventListener("scroll", () => requestAnimationFrame(() => (this.#scroll = scrollY)), { passive: true });
  }

  get grid() {
    return this.#grid;
  }

  /** How many images pass the filters, as the tags' counts tell; null while that is not known. */
  set total(total) {
    this.#total = total;
    this.#count();
  }

  /** Show what is asked for now. Going back shows what was there, where it was. */
  async load(came = "asked") {
    this.#remember();
    this.#under?.abort(new DOMException("something else was asked for", "AbortError"));
    const under = (this.#under = new AbortController());
    this.#visit = this.#asked.visit;
    this.#loading = this.#stuck = false;
    const kept = came === "back" ? this.#visits.get(this.#visit) : null;
    if (kept) {
      [this.#next, this.#took] = [kept.next, kept.took];
      this.#say(null);
      this.#grid.replace(kept.results, kept.next === null);
      this.#done();
      scrollTo(0, kept.scroll);
      return;
    }
    const waiting = setTimeout(() => {
      this.#grid.replace([], true);
      this.#say(waitingTiles());
      byId("count").textContent = t("count.waiting");
    }, PATIENCE_MS);
    document.body.setAttribute("aria-busy", "true");
    try {
      const { results, next, took } = await fetchResults(this.#asked.query, null, under.signal);
      if (under.signal.aborted) return;
      [this.#next, this.#took] = [next, took];
      clearTimeout(waiting);
      this.#say(results.length ? null : this.#nothing());
      this.#grid.replace(results, next === null);
      if (came === "asked" && scrollY > 0) scrollTo(0, 0);
      this.#done();
    } catch (error) {
      if (under.signal.aborted) return;
      clearTimeout(waiting);
      this.#next = null;
      this.#grid.replace([], true);
      this.#done();
      byId("count").textContent = t("count.refused");
      this.#say(refusalNote(error, this.#asked));
    } finally {
      clearTimeout(waiting);
      if (!under.signal.aborted) document.body.removeAttribute("aria-busy");
    }
  }

  /** Fetch the next page, once at a time. */
  async more() {
    if (this.#loading || this.#next === null || this.#under.signal.aborted) return;
    this.#loading = true;
    this.#stuck = false;
    const { signal } = this.#under;
    byId("more").setAttribute("aria-busy", "true");
    try {
      const { results, next } = await fetchResults(this.#asked.query, this.#next, signal);
      if (signal.aborted) return;
      this.#next = next;
      this.#loading = false;
      this.#grid.append(results, next === null);
      this.#done();
    } catch (error) {
      if (signal.aborted) return;
      this.#stuck = true;
      this.#say(refusalNote(error, this.#asked));
    } finally {
      if (!signal.aborted) {
        this.#loading = false;
        byId("more").removeAttribute("aria-busy");
      }
    }
  }

  #remember() {
    if (!this.#grid.results.length) return;
    this.#visits.delete(this.#visit);
    this.#visits.set(this.#visit, { results: this.#grid.results, next: this.#next, took: this.#took, scroll: this.#scroll });
    while (this.#visits.size > VISITS_KEPT) this.#visits.delete(this.#visits.keys().next().value);
  }

  #done() {
    byId("more").hidden = this.#next === null;
    this.#count();
  }

  #count() {
    const n = this.#grid.results.length;
    if (!n) {
      if (!document.body.hasAttribute("aria-busy")) byId("count").textContent = byId("note").hidden ? "" : t("count.none");
      return;
    }
    const query = this.#asked.query;
    const ranked = isRanked(query);
    const known = ranked || this.#total === null ? n : Math.max(n, this.#total);
    const key = this.#next !== null && (ranked || this.#total === null) ? "count.more" : "count.all";
    const texts = [el("span", { text: t(key, { n: known }) })];
    if (this.#took !== null && ranked) texts.push(el("small", { text: t("count.took", { ms: number(this.#took, { maximumFractionDigits: this.#took < 10 ? 1 : 0 }) }) }));
    byId("count").replaceChildren(...texts);
  }

  #say(what) {
    byId("note").hidden = what === null;
    byId("note").replaceChildren(...(what === null ? [] : [what]));
  }

  #nothing() {
    const query = this.#asked.query;
    if (!isRanked(query) && !isFiltered(query)) return noteOf(t("empty.collection"), t("empty.collection.hint"));
    const ways = [];
    if (query.good) ways.push(button({ class: "quiet", text: t("empty.all.matches"), press: () => this.#asked.change({ good: false }) }));
    if (isFiltered(query)) {
      const { tag, bucket, camera, format, after, before } = NOTHING;
      ways.push(button({ class: "quiet", text: t("empty.no.filters"), press: () => this.#asked.change({ tag, bucket, camera, format, after, before }) }));
    }
    ways.push(button({ class: "quiet", text: t("empty.start.over"), press: () => this.#asked.change(NOTHING) }));
    const hint = isRanked(query) ? t(query.good ? "empty.hint.good" : "empty.hint.words") : t("empty.hint.filters");
    return noteOf(t("empty.title"), hint, ways);
  }
}

/** A title, a sentence and what can be done, in the place of results. */
export function noteOf(title, sentence, ways = []) {
  return el("div", { class: "nothing" }, el("h2", { text: title }), el("p", { text: sentence }), el("div", { class: "row" }, ways));
}

function refusalNote(error, asked) {
  const over = button({ class: "quiet", text: t("empty.start.over"), press: () => asked.change(NOTHING) });
  if (error instanceof PhotoGone) {
    return noteOf(t("photo.gone"), t("photo.gone.hint"), [button({ class: "quiet", text: t("photo.forget"), press: () => asked.change({ photo: "" }) })]);
  }
  if (!(error instanceof Refusal)) throw error;
  if (error.status === 401 || error.status === 403) return noteOf(error.status === 401 ? t("key.needed") : error.detail, error.remedy || error.detail, [button({ class: "go", text: t("key.open"), press: changeKey })]);
  return noteOf(error.detail, error.remedy, [over]);
}
