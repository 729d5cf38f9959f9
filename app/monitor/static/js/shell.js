// What all pages share: time zone, keyboard, announcements, notices, and the state of the connection.

import { el, setText, show } from "./dom.js";
import { localZone, refreshTimes, switchZone, zone } from "./format.js";

const announcements = document.getElementById("announcements");
const notices = document.getElementById("notices");
const connection = document.getElementById("connection");
const help = document.getElementById("help");
const zoneButton = document.getElementById("zone");

/** Lets screen readers speak a sentence at their next pause. */
export const announce = (text) => setText(announcements, text);

/** Shows the state of the live connection. */
export function showConnection({ name, text }) {
  show(connection, true);
  connection.className = `connection ${name}`;
  setText(connection, text);
  if (name === "lost" || name === "polling") announce(text);
}

/**
 * Shows a notice above the content, or removes it.
 *
 * @param {string} key Names the notice: a later one with the same key takes its place.
 * @param {string|null} text The text; null removes the notice.
 */
export function notice(key, text) {
  const known = [...notices.children].find((child) => child.dataset.key === key);
  if (text === null) return known?.remove();
  if (known) return setText(known.firstElementChild, text);
  notices.append(
    el("div.notice.bad", { role: "alert", "data-key": key }, el("span", null, text),
      el("button.quiet", { type: "button", click: () => notice(key, null) }, "Dismiss")),
  );
}

function showZone() {
  setText(zoneButton, zone() === "UTC" ? "UTC" : localZone.split("/").pop().replaceAll("_", " "));
  zoneButton.setAttribute("aria-label", `Times are in ${zone()}. Switch the time zone`);
  show(zoneButton, localZone !== "UTC");
}

function isTyping(target) {
  return target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

function rows() {
  return [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
}

function move(step) {
  const all = rows();
  const here = all.indexOf(document.activeElement?.closest?.("[data-row]"));
  const next = all[here < 0 ? (step > 0 ? 0 : all.length - 1) : here + step];
  next?.querySelector("a[href]").focus();
  next?.scrollIntoView({ block: "nearest" });
}

const KEYS = {
  "/": () => {
    const search = document.querySelector("[data-search]");
    search?.focus();
    search?.select();
  },
  j: () => move(1),
  k: () => move(-1),
  x: () => document.activeElement?.closest?.("[data-row]")?.querySelector("input[type=checkbox]")?.click(),
  "?": () => help.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const act = document.querySelector("dialog[open]") ? null : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
document.getElementById("help-button").addEventListener("click", () => help.showModal());
zoneButton.addEventListener("click", () => {
  switchZone();
  showZone();
});
showZone();
setInterval(refreshTimes, 5_000);
