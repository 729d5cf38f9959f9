// A JSON document as a tree that opens and closes, with a button that copies it.

import { copyButton } from "./dialogs.js";
import { el, own } from "./dom.js";

const OPEN_CHILDREN = 20; // larger objects start closed
const MAX_CHILDREN = 200; // of one object; more are shown on demand

/** Makes the tree of a document. */
export function tree(name, value) {
  const size = Object.keys(value ?? {}).length;
  return el("section.tree", null,
    el("div.tree-head", null, el("h3", null, name), size > 0 && copyButton("Copy", () => JSON.stringify(value, null, 2))),
    size ? el("div.json", null, children(value)) : el("p.muted", null, "empty"));
}

function node(key, value) {
  if (value === null || typeof value !== "object" || !Object.keys(value).length) {
    return el("div.leaf", null, el("span.key", null, own(key), ":"), " ", leaf(value));
  }
  const entries = Object.keys(value).length;
  const details = el("details", { open: entries <= OPEN_CHILDREN },
    el("summary", null, el("span.key", null, own(key), ":"), " ",
      el("span.muted", null, Array.isArray(value) ? `[${entries}]` : `{${entries}}`)));
  const open = () => details.children.length === 1 && details.append(children(value));
  if (details.open) open();
  details.addEventListener("toggle", () => details.open && open());
  return details;
}

function children(value) {
  const list = el("div.children");
  const entries = Object.entries(value);
  const add = (from) => {
    list.append(...entries.slice(from, from + MAX_CHILDREN).map(([key, child]) => node(key, child)));
    const rest = entries.length - from - MAX_CHILDREN;
    if (rest <= 0) return;
    const more = el("button.quiet", { type: "button", click: () => (more.remove(), add(from + MAX_CHILDREN)) }, `${rest} more`);
    list.append(more);
  };
  add(0);
  return list;
}

function leaf(value) {
  const kind = value === null ? "null" : typeof value;
  return el(`span.value.${kind}`, null, own(kind === "string" ? value : JSON.stringify(value)));
}
