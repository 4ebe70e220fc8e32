// Years, months and days as spans of time for the histogram. All in UTC; ends are exclusive.

import { date } from "./texts.js";

const MOST_MONTHS = 72;
const DAY = 86_400_000;

const START = { year: (at) => [at.getUTCFullYear(), 0, 1], month: (at) => [at.getUTCFullYear(), at.getUTCMonth(), 1], day: (at) => [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()] };

/** The first moment of the year, month or day that holds `at`. */
export const startOf = (per, at) => new Date(Date.UTC(...START[per](new Date(at))));

/** The first moment after it. */
export function endOf(per, at) {
  const [year, month, day] = START[per](new Date(at));
  return new Date(per === "year" ? Date.UTC(year + 1, 0, 1) : per === "month" ? Date.UTC(year, month + 1, 1) : Date.UTC(year, month, day) + DAY);
}

/** As the API writes days. */
export const isoDay = (at) => new Date(at).toISOString().slice(0, 10);

/** A year, month or day in words. */
export const spanName = (per, at) =>
  date(at, per === "year" ? { year: "numeric" } : per === "month" ? { year: "numeric", month: "long" } : { dateStyle: "medium" });

/** The unit in which a time from `first` to `last` is best shown. */
export function unitFor(first, last) {
  const days = (new Date(last) - new Date(first)) / DAY;
  return days > MOST_MONTHS * 31 ? "year" : days > 62 ? "month" : "day";
}

/** One bar for each span from the first row to the last, those without images too. */
export function barsOf(rows, per, most = 400) {
  if (!rows.length) return [];
  const counts = new Map();
  for (const { from, count } of rows) {
    const start = startOf(per, from).getTime();
    counts.set(start, (counts.get(start) ?? 0) + count);
  }
  const bars = [];
  const end = Math.max(...counts.keys());
  for (let at = Math.min(...counts.keys()); at <= end && bars.length < most; at = endOf(per, at).getTime())
    bars.push({ from: new Date(at), to: endOf(per, at), count: counts.get(at) ?? 0 });
  return bars;
}
