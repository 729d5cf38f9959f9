// The status of a job as a chip: a shape, a colour and the word.

import { el, icon, setText } from "./dom.js";

const SHAPES = {
  pending: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M8 5.2V8l1.9 1.4",
  running: "M5 3.2v9.6l7.4-4.8z",
  completed: "M2.8 8.6l3.4 3.4l7-8",
  failed: "M4 4l8 8M12 4l-8 8",
  cancelled: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M4.2 4.2l7.6 7.6",
};

/** All statuses, in the order of a job's life. */
export const STATUSES = Object.keys(SHAPES);

/** Makes a chip; `setStatus` changes it. */
export function statusChip(status) {
  const chip = el("span.status");
  setStatus(chip, status);
  return chip;
}

/** Sets the status of a chip. */
export function setStatus(chip, status) {
  if (chip.dataset.status === status) return;
  chip.dataset.status = status;
  const label = el("span");
  setText(label, status);
  chip.replaceChildren(icon(SHAPES[status] ?? SHAPES.pending), label);
}
