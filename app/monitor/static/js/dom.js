// Elements of the page. All text is set as text: no markup of a job can reach the page.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element.
 *
 * @param {string} tag The tag, with optional classes: "p.muted".
 * @param {object|null} attributes Attributes; functions are event listeners ("click").
 * @param {...(Node|string|number|null|false)} children Children; text becomes text nodes.
 */
export function el(tag, attributes = null, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  element.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Makes text of unknown direction: right-to-left text does not disturb its surroundings. */
export const own = (text) => el("bdi", null, String(text));

/** Sets the text of an element, if it differs. */
export function setText(element, text) {
  const wanted = text == null ? "" : String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Shows or hides an element. */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Replaces the children of an element, if `signature` differs from that of the last call. */
export function fill(element, signature, makeChildren) {
  const text = JSON.stringify(signature);
  if (element.dataset.signature === text) return;
  element.dataset.signature = text;
  element.replaceChildren(...[makeChildren()].flat().filter((child) => child != null && child !== false));
}

/**
 * Makes the children of `parent` match `items`, keeping the elements of known keys.
 *
 * @param {Map} known The rows by key, as this function left them: {element, update}.
 */
export function keyed(parent, known, items, keyOf, make) {
  const wanted = new Set(items.map(keyOf));
  for (const [key, row] of known) {
    if (!wanted.has(key)) {
      row.element.remove();
      known.delete(key);
    }
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = known.get(key);
    if (row) row.update(item);
    else known.set(key, (row = make(item)));
    if (row.element === next) next = next.nextElementSibling;
    else parent.insertBefore(row.element, next);
  }
}

/** Makes an icon from the path of a 16 × 16 drawing. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
