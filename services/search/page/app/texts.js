// Texts, numbers and dates in the reader's language. A language is one file beside this folder: texts/xx.json.

const FALLBACK = "en";
const root = document.documentElement;
let texts = {};
let language = FALLBACK;
let plural = new Intl.PluralRules(language);

/** Read the texts of the browser's language; what it lacks is English. */
export async function loadTexts() {
  const offered = (root.dataset.languages || FALLBACK).split(/\s+/);
  language = chooseLanguage(navigator.languages ?? [], offered);
  const [fallback, own] = await Promise.all([fetchTexts(FALLBACK), language === FALLBACK ? {} : fetchTexts(language)]);
  texts = { ...fallback, ...own };
  plural = new Intl.PluralRules(language);
  root.lang = language;
  root.dir = texts.direction ?? "ltr";
}

/** The first language wanted that is offered, "de" for "de-AT" too. */
export function chooseLanguage(wanted, offered) {
  for (const tag of wanted) {
    for (const name of [tag, tag.split("-")[0]]) {
      const found = offered.find((one) => one.toLowerCase() === name.toLowerCase());
      if (found) return found;
    }
  }
  return FALLBACK;
}

async function fetchTexts(name) {
  const answer = await fetch(new URL(`../texts/${name}.json`, import.meta.url));
  return answer.ok ? answer.json() : {};
}

/** The text of a key with its {values} filled in; `n` chooses the plural form. */
export function t(key, values = {}) {
  let text = texts[key] ?? key;
  if (typeof text === "object") text = text[plural.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? number(values[name]) : values[name] ?? ""));
}

/** Whether there is a text of this key. */
export const hasText = (key) => key in texts;

/** Fill in the elements that name a text: data-text, data-label, data-placeholder. */
export function fillTexts(within = document) {
  for (const element of within.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of within.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
    if (element.matches("button, a")) element.title = t(element.dataset.label);
  }
  for (const element of within.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
}

export const number = (value, options) => new Intl.NumberFormat(language, options).format(value);

export const percent = (share) => number(share, { style: "percent", maximumFractionDigits: 0 });

export const date = (value, options = { dateStyle: "medium" }) =>
  new Intl.DateTimeFormat(language, { timeZone: "UTC", ...options }).format(new Date(value));

/** A moment in the reader's own time zone. */
export const moment = (value) =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(value));

/** Such as "3 minutes ago". */
export function ago(value) {
  const seconds = Math.round((new Date(value).getTime() - Date.now()) / 1000);
  if (seconds < -14 * 86400) return date(value);
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  const [unit, length] = units.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  if (unit === "second" && seconds > -5) return t("now");
  return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(Math.trunc(seconds / length), unit);
}

/** A value of a filter as it is shown: formats are names in capitals. */
export const shownValue = (filter, value) => (filter === "format" ? value.toUpperCase() : value);

/** Such as "2.4 MB". */
export function bytes(size) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  const power = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(size) / 3));
  const value = size / 1000 ** power;
  return number(value, { style: "unit", unit: units[power], unitDisplay: "short", maximumFractionDigits: value < 10 ? 1 : 0 });
}
