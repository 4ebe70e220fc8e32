// The grid of results. Only what is near the screen is in the document, so ten thousand are as quick as ten.

import { el } from "./elements.js";
import { layRows, ratioOf } from "./rows.js";
import { discard } from "./thumbnails.js";
import { tile } from "./tile.js";

const AHEAD = 1.5; // screens kept ready above and below
const SIZES = [
  { upTo: 520, target: 150, gap: 10, caption: 32 },
  { upTo: 900, target: 190, gap: 14, caption: 34 },
  { upTo: Infinity, target: 224, gap: 18, caption: 34 },
];

export class Grid {
  #list;
  #acts;
  #results = [];
  #ratios = [];
  #laid = { tiles: [], rows: [], height: 0 };
  #shown = new Map();
  #current = 0;
  #complete = true;
  #width = 0;
  #scheduled = false;
  #heldFocus = false;

  /** `acts`: open(result), steer(id, towards), duplicates(result), and near() when the end comes into reach. */
  constructor(list, acts) {
    this.#list = list;
    this.#acts = acts;
    new ResizeObserver(() => this.#resized()).observe(list);
    addEventListener("scroll", () => this.#soon(), { passive: true });
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", (event) => this.#entered(event.target));
  }

  get results() {
    return this.#results;
  }

  /** Show other results, from the first. */
  replace(results, complete) {
    // Whoever walked the grid with the keyboard goes on with the new results.
    this.#heldFocus ||= this.#list.contains(document.activeElement);
    for (const element of this.#shown.values()) discard(element);
    this.#shown.clear();
    this.#current = 0;
    this.#results = [];
    this.#ratios = [];
    this.append(results, complete);
    if (this.#heldFocus && results.length && this.#width) {
      this.#heldFocus = false;
      if (document.activeElement === document.body) this.focus(0);
    }
  }

  /** Show more results after those that are there. */
  append(results, complete) {
    this.#results = this.#results.concat(results);
    this.#ratios = this.#ratios.concat(results.map((result) => ratioOf(result.payload)));
    this.#complete = complete;
    this.#lay();
  }

  /** Put the keyboard on a result, scrolling to it. */
  focus(at = this.#current) {
    if (!this.#results.length) return;
    this.#current = Math.min(Math.max(at, 0), this.#results.length - 1);
    const laid = this.#laid.tiles[this.#current];
    const top = this.#list.getBoundingClientRect().top + laid.y;
    const head = document.querySelector(".top").offsetHeight + 12;
    const bottom = top + laid.height + this.#size().caption;
    if (top < head) scrollBy(0, top - head);
    else if (bottom > innerHeight) scrollBy(0, bottom - innerHeight + 12);
    this.#draw();
    this.#shown.get(this.#current).querySelector(".open").focus({ preventScroll: true });
  }

  /** Where a result stands, -1 where it is not among them. */
  indexOf(id) {
    return this.#results.findIndex((result) => result.id === id);
  }

  #size() {
    return SIZES.find((size) => this.#width <= size.upTo);
  }

  #resized() {
    const width = this.#list.clientWidth;
    if (width && width !== this.#width) this.#lay();
  }

  #lay() {
    this.#width = this.#list.clientWidth;
    if (!this.#width) return; // it is not shown now
    this.#laid = layRows(this.#ratios, { width: this.#width, ...this.#size() });
    this.#list.style.height = `${this.#laid.height}px`;
    for (const [at, element] of this.#shown) this.#place(element, at);
    this.#draw();
  }

  #soon() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  #draw() {
    if (!this.#list.clientWidth) return;
    const { rows } = this.#laid;
    const above = -this.#list.getBoundingClientRect().top;
    const top = above - innerHeight * AHEAD;
    const bottom = above + innerHeight * (1 + AHEAD);
    const from = rows[Math.max(0, rowAt(rows, top))]?.first ?? 0;
    const to = rows[rowAt(rows, bottom)]?.end ?? 0;
    const kept = this.#list.contains(document.activeElement) ? this.#current : -1;
    for (const [at, element] of this.#shown) {
      if ((at < from || at >= to) && at !== kept) {
        discard(element);
        this.#shown.delete(at);
      }
    }
    for (let at = from; at < to; at += 1) if (!this.#shown.has(at)) this.#show(at);
    this.#mark();
    if (!this.#complete && this.#laid.height - above < innerHeight * (1 + AHEAD)) this.#acts.near();
  }

  #show(at) {
    const { width, height } = this.#laid.tiles[at];
    const element = tile(this.#results[at], Math.max(width, height), this.#acts);
    element.dataset.at = at;
    element.setAttribute("aria-posinset", at + 1);
    this.#place(element, at);
    // In the order of the results, whichever way was scrolled: screen readers go by the document.
    let next = null;
    for (const [other, shown] of this.#shown) if (other > at && (next === null || other < next[0])) next = [other, shown];
    this.#list.insertBefore(element, next?.[1] ?? null);
    this.#shown.set(at, element);
  }

  #place(element, at) {
    const { x, y, width, height } = this.#laid.tiles[at];
    element.style.transform = `translate(${x}px, ${y}px)`;
    element.style.width = `${width}px`;
    element.style.setProperty("--height", `${height}px`);
  }

  // One tab stop: the current tile and what can be done with it.
  #mark() {
    const current = this.#shown.has(this.#current) ? this.#current : Math.min(...this.#shown.keys());
    const size = this.#complete ? this.#results.length : -1;
    for (const [at, element] of this.#shown) {
      element.setAttribute("aria-setsize", size);
      for (const control of element.querySelectorAll("button")) control.tabIndex = at === current ? 0 : -1;
    }
  }

  #entered(target) {
    const at = Number(target.closest("li")?.dataset.at ?? -1);
    if (at < 0 || at === this.#current) return;
    this.#current = at;
    this.#mark();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const result = this.#results[this.#current];
    const steer = { "+": "like", "-": "unlike" }[event.key];
    const to = this.#moved(event.key);
    if (steer) this.#acts.steer(result.id, steer);
    else if (to !== null) this.focus(to);
    else return;
    event.preventDefault();
  }

  #moved(key) {
    const last = this.#results.length - 1;
    const at = this.#current;
    const forward = getComputedStyle(this.#list).direction === "rtl" ? -1 : 1;
    if (key === "ArrowRight") return Math.min(last, Math.max(0, at + forward));
    if (key === "ArrowLeft") return Math.min(last, Math.max(0, at - forward));
    if (key === "Home") return 0;
    if (key === "End") return last;
    if (key === "ArrowUp") return this.#beside(at, -1);
    if (key === "ArrowDown") return this.#beside(at, 1);
    return null;
  }

  // The tile of the row above or below whose middle is nearest.
  #beside(at, step) {
    const { tiles, rows } = this.#laid;
    const row = rows[tiles[at].row + step];
    if (!row) return at;
    const middle = ({ x, width }) => x + width / 2;
    let best = row.first;
    for (let other = row.first; other < row.end; other += 1)
      if (Math.abs(middle(tiles[other]) - middle(tiles[at])) < Math.abs(middle(tiles[best]) - middle(tiles[at]))) best = other;
    return best;
  }
}

/** A quiet field of tiles while the first results are on their way. */
export function waitingTiles(count = 12) {
  const ratios = Array.from({ length: count }, (_, at) => [1.33, 0.75, 1.5, 1][at % 4]);
  return el("div", { class: "waiting", "aria-hidden": "true" }, ratios.map((ratio) => el("i", { style: { "--ratio": ratio } })));
}

/** The last row that starts at `y` or above, by halving; -1 before the first. */
function rowAt(rows, y) {
  let low = -1;
  let high = rows.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (rows[middle].y <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}
