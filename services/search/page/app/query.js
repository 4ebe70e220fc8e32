// What is asked for, and its place in the address: reload, back and a shared link show the same.

const LISTS = ["like", "unlike", "tag", "bucket", "camera", "format"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const DAY = /^\d{4}-\d\d-\d\d$/;
const DATES = ["oldest_uploaded", "newest_taken", "oldest_taken"];
const MOST = 64;

/** Nothing asked for: everything is shown, newest first. `before` is exclusive, as in the API. */
export const NOTHING = Object.freeze({
  q: "", photo: "", like: [], unlike: [], tag: [], bucket: [], camera: [], format: [],
  date: "taken", after: "", before: "", sort: "", good: false, fold: true,
});

export const FILTERS = ["tag", "bucket", "camera", "format"];

/** What an address asks for; what cannot be understood is left out. */
export function readQuery(search) {
  const given = new URLSearchParams(search);
  const query = { ...NOTHING };
  query.q = (given.get("q") ?? "").trim().slice(0, 1000);
  query.photo = /^[\w-]{1,40}$/.test(given.get("photo") ?? "") ? given.get("photo") : "";
  for (const name of LISTS) {
    const values = [...new Set(given.getAll(name).filter(Boolean))].slice(0, MOST);
    query[name] = name.endsWith("like") ? values.filter((value) => UUID.test(value)) : values;
  }
  query.date = given.get("date") === "uploaded" ? "uploaded" : "taken";
  for (const name of ["after", "before"]) query[name] = DAY.test(given.get(name) ?? "") ? given.get(name) : "";
  query.sort = given.get("sort") ?? "";
  query.good = given.get("good") === "1";
  query.fold = given.get("fold") !== "0";
  return settled(query);
}

/** The address's search part for a query, "" for nothing. */
export function writeQuery(query) {
  const written = new URLSearchParams();
  for (const name of ["q", "photo"]) if (query[name]) written.set(name, query[name]);
  for (const name of LISTS) for (const value of query[name]) written.append(name, value);
  if (query.after || query.before) {
    if (query.date !== "taken") written.set("date", query.date);
    for (const name of ["after", "before"]) if (query[name]) written.set(name, query[name]);
  }
  if (query.sort) written.set("sort", query.sort);
  if (query.good) written.set("good", "1");
  if (!query.fold) written.set("fold", "0");
  const text = written.toString();
  return text ? `?${text}` : "";
}

/** Whether results are ranked by likeness, rather than all images listed. "Less like" alone says nothing. */
export const isRanked = (query) => Boolean(query.q || query.photo || query.like.length);

/** The orders that a query may have, the usual one first: results by likeness know none by the time of indexing. */
export const ordersOf = (query) => ["", isRanked(query) ? "newest_uploaded" : "newest_indexed", ...DATES];

// An order that this query cannot have was that of another one: the usual order takes its place.
const settled = (query) => (ordersOf(query).includes(query.sort) ? query : { ...query, sort: "" });

export const isFiltered = (query) => Boolean(query.after || query.before || FILTERS.some((name) => query[name].length));

/** The query of this page. Listeners are told of each change with `{query, came}`; `came` is "asked" or "back". */
export class Asked {
  #listeners = new Set();
  #leaving = false;
  #waiting = [];

  constructor() {
    this.query = readQuery(location.search);
    this.visit = history.state?.visit ?? this.#newVisit("replaceState", location.href);
    addEventListener("popstate", () => {
      this.#arrived();
      this.#leaving = false;
      for (const act of this.#waiting.splice(0)) act();
    });
  }

  listen(listener) {
    this.#listeners.add(listener);
  }

  /** Leave a step that changed only the #. Browsers go back later; until then, what is asked for would be undone. */
  leave() {
    this.#leaving = true;
    history.back();
  }

  /** Ask for something else: a new step that Back undoes. */
  change(patch) {
    if (this.#wait(() => this.change(patch))) return;
    const next = settled({ ...this.query, ...patch });
    if (writeQuery(next) === writeQuery(this.query) && next.date === this.query.date) return;
    const moved = writeQuery(next) !== writeQuery(this.query);
    this.query = next;
    if (moved) this.visit = this.#newVisit("pushState", `${location.pathname}${writeQuery(next)}`);
    this.#tell("asked");
  }

  /** Add a value to a list or take it away. */
  toggle(name, value) {
    if (this.#wait(() => this.toggle(name, value))) return;
    const values = this.query[name];
    this.change({ [name]: values.includes(value) ? values.filter((one) => one !== value) : [...values, value] });
  }

  /** Ask for more, or for less, like an image; it cannot be both. */
  steer(id, towards) {
    if (this.#wait(() => this.steer(id, towards))) return;
    const away = towards === "like" ? "unlike" : "like";
    this.change({
      [towards]: [...this.query[towards].filter((one) => one !== id), id],
      [away]: this.query[away].filter((one) => one !== id),
    });
  }

  #arrived() {
    const query = readQuery(location.search);
    const visit = history.state?.visit ?? this.visit;
    if (visit === this.visit && writeQuery(query) === writeQuery(this.query)) return; // only the # changed
    this.query = query;
    this.visit = visit;
    this.#tell("back");
  }

  #wait(act) {
    if (this.#leaving) this.#waiting.push(act);
    return this.#leaving;
  }

  #newVisit(how, url) {
    const visit = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
    history[how]({ visit }, "", url);
    return visit;
  }

  #tell(came) {
    for (const listener of this.#listeners) listener({ query: this.query, came });
  }
}
