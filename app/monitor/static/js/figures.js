// Figures of a job's statistics: what was extracted, and what a shop sells.

import { el, fill, own } from "./dom.js";
import { bytes, count, duration } from "./format.js";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const words = (key) => key.replace(/([a-z])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase();

/** Makes one figure: a number with its name. */
export function figure(name, value, note = null) {
  return el("div.figure", null, el("dt", null, name), el("dd", null, own(value), note && el("small", null, " ", note)));
}

/** Shows a list of figures, or nothing. */
function group(title, figures) {
  const shown = figures.filter(Boolean);
  return shown.length ? el("section", null, el("h2", null, title), el("dl.figures", null, shown)) : null;
}

/** Shows the figures of a job's statistics in `place`. */
export function showFigures(place, stats) {
  const { dataExtracted, products, inventory, performance } = stats;
  fill(place, [dataExtracted, products, inventory, performance, stats.errors], () => [
    group("Extracted data", numbersOf(dataExtracted)),
    group("Products", shop(products)),
    group("Inventory", numbersOf(inventory)),
    group("Resources", [
      performance?.memoryUsage != null && figure("memory", isNumber(performance.memoryUsage) ? `${count(performance.memoryUsage)} MB` : performance.memoryUsage),
      performance?.cpuUsage != null && figure("CPU", isNumber(performance.cpuUsage) ? `${count(performance.cpuUsage)} %` : performance.cpuUsage),
      performance?.networkLatency != null && figure("latency", isNumber(performance.networkLatency) ? duration(performance.networkLatency / 1000) : performance.networkLatency),
    ]),
    pageErrors(stats.errors),
  ]);
}

function numbersOf(values) {
  if (!values || typeof values !== "object") return [];
  return Object.entries(values)
    .filter(([, value]) => isNumber(value) || typeof value === "string")
    .slice(0, 24)
    .map(([key, value]) => figure(own(words(key)), isNumber(value) ? count(value) : value));
}

function shop(products) {
  if (!products || typeof products !== "object") return [];
  const { priceRange: range, categories } = products;
  const isRange = range && isNumber(range.min) && isNumber(range.max);
  const prices = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return [
    ...numbersOf({ ...products, categories: undefined, priceRange: undefined }),
    isRange && figure("price range", `${prices(range.min)} – ${prices(range.max)}`, isNumber(range.average) && `average ${prices(range.average)}`),
    Array.isArray(categories) && categories.length > 0 && figure("categories", count(categories.length), own(categories.slice(0, 12).map(String).join(", "))),
  ];
}

function pageErrors(errors) {
  if (!Array.isArray(errors) || !errors.length) return null;
  const shown = errors.slice(-20);
  return el("section", null, el("h2", null, "Errors of pages"),
    el("ul.page-errors", null, shown.map((one) => el("li", null, el("strong", null, own(one?.error ?? JSON.stringify(one))), " ", el("span.muted", null, own(one?.url ?? ""))))),
    errors.length > shown.length && el("p.muted", null, `The last ${shown.length} of ${count(errors.length)}.`));
}

/** Returns the figures of the requests that a job has made. */
export function requestFigures(stats) {
  const { successfulRequests: good, failedRequests: bad } = stats;
  return [
    isNumber(good) && figure("requests", count(good), isNumber(bad) && bad > 0 ? `${count(bad)} failed` : null),
    isNumber(stats.avgResponseTime) && figure("response time", duration(stats.avgResponseTime / 1000)),
    isNumber(stats.bytesDownloaded) && figure("downloaded", bytes(stats.bytesDownloaded)),
  ];
}
