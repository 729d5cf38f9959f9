// The times of a filter form: shown in the viewer's time zone, sent in UTC.

import { zone } from "./format.js";

/** Shows the times of a form's hidden fields, and sets these fields when it is sent. */
export function restoreMoments(form) {
  const inputs = [...form.querySelectorAll("[data-moment]")];
  const hidden = (input) => form.elements[input.dataset.moment];
  const showAll = () => {
    for (const input of inputs) input.value = hidden(input).value ? wall(new Date(hidden(input).value)) : "";
  };
  form.addEventListener("submit", () => {
    for (const input of inputs) hidden(input).value = input.value ? moment(input.value).toISOString() : "";
    for (const field of form.elements) field.disabled = field.name !== "" && field.value === "";
    setTimeout(() => {
      for (const field of form.elements) field.disabled = false;
    });
  });
  document.addEventListener("zone-changed", showAll);
  showAll();
}

/** Returns a moment as the value of a field: 2024-01-01T12:00, in the zone of the page. */
function wall(moment) {
  if (Number.isNaN(moment.getTime())) return "";
  const parts = new Intl.DateTimeFormat("sv-SE", {
    timeZone: zone(), year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit",
  }).format(moment);
  return parts.replace(" ", "T");
}

function moment(text) {
  return zone() === "UTC" ? new Date(`${text}Z`) : new Date(text);
}
