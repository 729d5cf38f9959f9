// Numbers, durations and times as text.

const numbers = new Intl.NumberFormat("en");
const ZONE_KEY = "scrape-jobs-zone";

/** The viewer's time zone. */
export const localZone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

let isUTC = readChoice() === "UTC";

/** Returns the time zone that times are shown in. */
export const zone = () => (isUTC ? "UTC" : localZone);

function readChoice() {
  try {
    return localStorage.getItem(ZONE_KEY);
  } catch {
    return null; // the browser keeps nothing for this site
  }
}

function keepChoice(text) {
  try {
    localStorage.setItem(ZONE_KEY, text);
  } catch {
    // The choice lasts until the page is left.
  }
}

/** Switches between the viewer's time zone and UTC, and shows all times again. */
export function switchZone() {
  isUTC = !isUTC;
  keepChoice(zone());
  for (const element of document.querySelectorAll("time")) showTime(element);
  document.dispatchEvent(new Event("zone-changed"));
}

/** Returns a number with separators: 1,234.5; anything else as text. */
export const count = (value) => (Number.isFinite(value) ? numbers.format(value) : String(value));

/** Returns a number with a decimal where that says something. */
export const rounded = (value) => count(value < 100 ? Math.round(value * 10) / 10 : Math.round(value));

/** Returns a ratio as a percentage with at most one decimal, or an en dash. */
export function percent(ratio) {
  if (!Number.isFinite(ratio)) return "–";
  const value = ratio * 100;
  return `${count(value < 10 || value > 99 ? Math.round(value * 10) / 10 : Math.round(value))} %`;
}

/** Returns a duration in its two largest units: 2 h 5 min. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return seconds > 0 ? `${Math.max(1, Math.round(seconds * 1000))} ms` : "0 s";
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const total = Math.round(seconds);
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const start = units.findIndex(([size]) => total >= size);
  const [size, name] = units[start];
  const [smallSize, smallName] = units[start + 1] ?? [];
  const rest = smallSize ? Math.floor((total % size) / smallSize) : 0;
  return `${count(Math.floor(total / size))} ${name}${rest ? ` ${rest} ${smallName}` : ""}`;
}

/** Returns a size in bytes as text: 5.2 MB. */
export function bytes(value) {
  if (!Number.isFinite(value)) return String(value);
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const power = value < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  const scaled = value / 1000 ** power;
  return `${count(Math.round(scaled * (scaled < 10 && power ? 10 : 1)) / (scaled < 10 && power ? 10 : 1))} ${units[power]}`;
}

/** Returns a short id for display; the whole one belongs beside it, in a title. */
export const shortId = (id) => id.slice(-12);

/** Makes an element that shows a time, and the whole time on hover. */
export function time(iso, style = "both") {
  const element = document.createElement("time");
  element.dataset.style = style;
  setTime(element, iso);
  return element;
}

/** Sets the time of an element that `time` made. */
export function setTime(element, iso) {
  if (element.dateTime === (iso ?? "")) return;
  element.dateTime = iso ?? "";
  showTime(element);
}

/** Shows again how long ago the visible times are. */
export function refreshTimes() {
  for (const element of document.querySelectorAll("time[data-style=ago], time[data-style=due]")) showTime(element);
}

function showTime(element) {
  const iso = element.dateTime;
  if (!iso) {
    element.textContent = "–";
    element.removeAttribute("title");
    return;
  }
  const moment = new Date(iso);
  const whole = moments.whole(moment);
  element.title = whole;
  const text = { ago: ago(moment), due: moment <= Date.now() ? "now" : ago(moment), clock: moments.clock(moment), both: moments.both(moment) };
  const shown = text[element.dataset.style] ?? whole;
  if (element.textContent !== shown) element.textContent = shown;
}

function ago(moment) {
  const seconds = (Date.now() - moment.getTime()) / 1000;
  if (seconds < -1) return `in ${coarse(-seconds)}`;
  return seconds < 5 ? "now" : `${coarse(seconds)} ago`;
}

function coarse(seconds) {
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  }
  return `${Math.floor(seconds)} s`;
}

const moments = {
  whole: (moment) => formatted(moment, { dateStyle: "full", timeStyle: "long" }),
  clock: (moment) => formatted(moment, { timeStyle: "medium" }),
  both: (moment) =>
    formatted(moment, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" }),
};

function formatted(moment, options) {
  if (Number.isNaN(moment.getTime())) return "–";
  return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone() }).format(moment);
}
