// The page put together.

import { ask } from "./api.js";
import { changeKey, currentKey } from "./access.js";
import { showConnection } from "./banner.js";
import { showChips } from "./chips.js";
import { byId, el, isWriting } from "./elements.js";
import { Filters } from "./filters.js";
import { icon } from "./icons.js";
import { imagesIn, rememberPhoto } from "./photo.js";
import { Asked, isRanked, NOTHING, ordersOf } from "./query.js";
import { Results } from "./results.js";
import { liveStrip } from "./strip.js";
import { fillTexts, loadTexts, t } from "./texts.js";
import { themeSwitch } from "./theme.js";

const COUNTS_EVERY_MS = 10_000;
const BESIDES_AFTER_MS = 800;

await loadTexts();
for (const element of document.querySelectorAll("[data-icon]")) element.prepend(icon(element.dataset.icon));
fillTexts();
themeSwitch();
showConnection();

const asked = new Asked();
const results = new Results(asked, {
  open: show,
  steer: (id, towards) => asked.steer(id, towards),
  duplicates: (result) => show(result, { duplicates: true }),
});
// What the first view does not show is loaded when it is first wanted.
const details = later(async () => new (await import("./details.js")).Details(asked, () => results.grid));
const operations = later(async () => new (await import("./operations.js")).Operations(show, access));
const access = ask("v1/access").catch(() => null);
const filters = new Filters(asked, (total) => (results.total = total));

searchBox();
choices();
photos();
keyboard();
views();
showChips(asked);
// What is asked for at the same time holds the first results up; a search that takes long must not hold up all else.
Promise.race([results.load("back"), new Promise((done) => setTimeout(done, BESIDES_AFTER_MS))]).finally(() => {
  filters.load();
  about();
});
liveStrip(asked, { open: show, arrived: countAgain() });
followAddress();
addEventListener("popstate", followAddress);
document.documentElement.dataset.ready = "";

function searchBox() {
  const words = byId("words");
  if (matchMedia("(max-width: 520px)").matches) words.placeholder = t("box.placeholder.short");
  const show = () => {
    words.value = asked.query.q;
    document.title = asked.query.q ? t("title.words", { words: asked.query.q }) : "Sightline";
  };
  byId("box").addEventListener("submit", (event) => {
    event.preventDefault();
    if (location.hash === "#operations") leaveOperations();
    asked.change({ q: words.value.trim() });
  });
  // The little cross in the field, or an emptied field: no words any more.
  words.addEventListener("search", () => words.value === "" && asked.change({ q: "" }));
  words.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && results.grid.results.length) {
      event.preventDefault();
      results.grid.focus(0);
    }
  });
  asked.listen(show);
  show();
}

function choices() {
  const [good, sort] = ["good", "sort"].map(byId);
  const show = () => {
    const { query } = asked;
    const ranked = isRanked(query);
    good.checked = query.good;
    good.closest("label").hidden = !ranked;
    sort.replaceChildren(...ordersOf(query).map((value) => el("option", { value, text: t(`sort.${value || (ranked ? "relevance" : "newest_uploaded")}`) })));
    sort.value = query.sort;
  };
  good.addEventListener("change", () => asked.change({ good: good.checked }));
  sort.addEventListener("change", () => asked.change({ sort: sort.value }));
  const toggle = byId("show-filters");
  toggle.addEventListener("click", () => {
    const open = document.body.classList.toggle("filters-open");
    toggle.setAttribute("aria-expanded", String(open));
    // They cover all else, so nothing behind them is walked to.
    for (const behind of document.querySelectorAll(".skip, .top, .found, .foot")) behind.inert = open;
    const within = [...byId("filters").querySelectorAll("button, input, select")];
    (open ? within.find((one) => one.checkVisibility()) : toggle)?.focus();
  });
  // A tablet that is turned shows them beside the results.
  matchMedia("(min-width: 1021px)").addEventListener("change", () => document.body.classList.contains("filters-open") && toggle.click());
  asked.listen(show);
  show();
}

function photos() {
  const file = byId("photo-file");
  const drop = byId("drop");
  const search = async ([photo]) => {
    if (!photo) return;
    const id = await rememberPhoto(photo);
    byId("details").close();
    if (location.hash === "#operations") leaveOperations();
    asked.change({ photo: id, like: [], unlike: [] });
  };
  byId("choose-photo").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    search([...file.files]);
    file.value = "";
  });
  addEventListener("paste", (event) => {
    const images = imagesIn(event.clipboardData);
    if (!images.length) return;
    event.preventDefault();
    search(images);
  });
  // Leaving is told for every element that is crossed; only the last counts.
  let within = 0;
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => carriesFiles(event) && ((within += 1), (drop.hidden = false)));
  addEventListener("dragleave", (event) => carriesFiles(event) && (within -= 1) <= 0 && (drop.hidden = true));
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    within = 0;
    drop.hidden = true;
    search(imagesIn(event.dataTransfer));
  });
}

function keyboard() {
  byId("keys-help").textContent = t("foot.keys");
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "/" && !isWriting(event.target)) {
      event.preventDefault();
      byId("words").focus();
      byId("words").select();
    }
    if (event.key === "Escape" && document.body.classList.contains("filters-open")) byId("show-filters").click();
    else if (event.key === "Escape" && byId("grid").contains(event.target)) byId("words").focus();
  });
}

function views() {
  let scroll = 0;
  const show = () => {
    const operating = location.hash === "#operations";
    if (operating && !byId("search").hidden) scroll = scrollY;
    const changed = byId("operations").hidden === operating;
    byId("search").hidden = operating;
    byId("operations").hidden = !operating;
    for (const link of document.querySelectorAll("[data-view]")) {
      const current = (link.dataset.view === "operations") === operating;
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (changed && !operating) requestAnimationFrame(() => scrollTo(0, scroll));
    if (operating) operations().then((view) => view.look());
  };
  for (const link of document.querySelectorAll("[data-view=search]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      if (location.hash === "#operations") leaveOperations();
    });
  }
  document.querySelector(".brand").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (location.hash === "#operations") leaveOperations();
    asked.change(NOTHING);
  });
  addEventListener("hashchange", show);
  show();
}

function leaveOperations() {
  history.pushState(history.state, "", location.pathname + location.search);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

// The counts follow what arrives, though not at every image.
function countAgain() {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      filters.load(true);
    }, COUNTS_EVERY_MS);
  };
}

async function about() {
  byId("key").addEventListener("click", changeKey);
  byId("key").hidden = !currentKey();
  const [status, allowed] = await Promise.allSettled([ask("v1/status"), access]);
  if (status.value) byId("release").textContent = t("foot.release", { release: status.value.release });
  if (allowed.value?.required) byId("key").hidden = false;
}

async function followAddress() {
  if (location.hash.startsWith("#image=")) (await details()).followAddress();
}

async function show(result, how) {
  (await details()).open(result, how);
}

function later(load) {
  let loaded = null;
  return () => (loaded ??= load());
}
