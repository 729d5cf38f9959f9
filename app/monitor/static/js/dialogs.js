// Questions before a change. Nothing changes a job without one.

import { el } from "./dom.js";

let number = 0;

/**
 * Asks for confirmation in a dialog.
 *
 * @param {object} options
 *   title, confirm (text of the button), dismiss (text of the other one), isDangerous;
 *   content: elements between the title and the buttons.
 * @returns {Promise<FormData|null>} The values of the form, or null if the user dismissed it.
 */
export function ask({ title, confirm, dismiss = "Close", isDangerous = false, content = [] }) {
  const titleId = `dialog-${++number}`;
  const form = el("form", { method: "dialog" },
    el("h2", { id: titleId }, title), ...content,
    el("div.actions", null,
      el("button", { value: "", type: "submit", formnovalidate: true }, dismiss),
      confirm && el(isDangerous ? "button.danger" : "button.primary", { value: "confirm", type: "submit" }, confirm)),
  );
  const dialog = el("dialog", { "aria-labelledby": titleId }, form);
  document.body.append(dialog);
  // Enter in a field confirms; the browser would press the first button otherwise.
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input") && confirm) {
      event.preventDefault();
      form.requestSubmit(form.querySelector("button[value=confirm]"));
    }
  });
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const values = dialog.returnValue === "confirm" ? new FormData(form) : null;
      dialog.remove();
      resolve(values);
    });
  });
}

/** Makes the field for the reason of a cancellation. */
export const reasonField = () =>
  el("label", null, "Reason", el("input", { name: "reason", maxlength: 500, autocomplete: "off", autofocus: true, placeholder: "optional; the worker and the history show it" }));

/** Makes a button that copies text. */
export function copyButton(label, textOf) {
  const button = el("button.quiet.copy", { type: "button" }, label);
  button.addEventListener("click", async () => {
    await copy(textOf());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el("textarea", { class: "unseen" }); // without HTTPS there is no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
