// The history of a job as a timeline, with the deliveries of each transition.

import { el, keyed, own, setText } from "./dom.js";
import { count, time } from "./format.js";
import { statusChip } from "./status.js";

const ACTIONS = {
  created: "Created", updated: "Updated", claimed: "Taken by a worker", cancelled: "Cancelled", retried: "Retried",
  given_up: "Given up by the worker", released: "Released by the worker", lease_expired: "Lease expired",
  cancel_heard: "The worker heard of the cancellation",
};
const STEP = 100; // events that are shown at first, and with each click

/** Makes a timeline; `update` takes the events and the deliveries by event. */
export function timeline() {
  const list = el("ol.timeline");
  const more = el("button.quiet", { type: "button" });
  const element = el("div", null, list, more);
  const known = new Map();
  let limit = STEP;
  let last = [[], new Map()];
  const update = (events, deliveries) => {
    last = [events, deliveries];
    const newest = [...events].reverse();
    const shown = newest.slice(0, limit);
    keyed(list, known, shown, (event) => event.id, (event) => entry(event, deliveries));
    for (const event of shown) known.get(event.id).showDeliveries(deliveries.get(event.id) ?? []);
    more.hidden = newest.length <= shown.length;
    setText(more, `${count(newest.length - shown.length)} earlier events`);
  };
  more.addEventListener("click", () => {
    limit += 5 * STEP;
    update(...last);
  });
  return { element, update };
}

function entry(event) {
  const isTransition = event.old_status !== event.new_status;
  const sent = el("ul.deliveries");
  const pages = event.changes?.["stats.pagesProcessed"];
  const changes = Object.entries(event.changes ?? {}).filter(([name]) => name !== "status");
  const element = el("li", { class: isTransition ? "transition" : null, "data-status": event.new_status },
    el("div.event-head", null,
      isTransition ? statusChip(event.new_status) : null,
      el("strong", null, isReport(event) ? "Report" : (ACTIONS[event.action] ?? own(event.action))),
      pages && Number.isFinite(pages.to) && el("span.figure-change", null, `${count(pages.to)} pages`),
      time(event.at)),
    el("p.provenance", null, "by ", actor(event.actor), event.request_id && [" · request ", el("code", null, own(event.request_id))]),
    event.changes?.error_message?.to && el("p.event-error", null, own(short(event.changes.error_message.to))),
    changes.length > 0 && changeList(changes),
    sent);
  let signature = "";
  return {
    element,
    update() {},
    showDeliveries(deliveries) {
      const now = JSON.stringify(deliveries.map(({ id, status, tries }) => [id, status, tries.length]));
      if (now === signature) return;
      signature = now;
      sent.replaceChildren(...deliveries.map(deliveryItem));
    },
  };
}

const isReport = (event) =>
  event.action === "updated" && event.old_status === event.new_status && Object.keys(event.changes).some((name) => name.startsWith("stats."));

function actor({ type, id, name }) {
  if (type === "key") return el("span", { title: id }, "key ", own(name ?? id));
  return type === "system" ? "the service" : "a caller without a key";
}

const MAX_FIELDS = 50;

function changeList(changes) {
  return el("details", null, el("summary", null, changes.length === 1 ? `${changes[0][0]} changed` : `${changes.length} fields changed`),
    el("dl.changes", null, changes.slice(0, MAX_FIELDS).map(([name, { from, to }]) =>
      el("div", null, el("dt", null, own(name)), el("dd", null, from == null ? null : [el("s", null, own(short(from))), " → "], own(short(to)))))),
    changes.length > MAX_FIELDS && el("p.muted", null, `and ${changes.length - MAX_FIELDS} more`));
}

function short(value) {
  if (value == null) return "none";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

/** Makes the item of a delivery: whether its receiver took it. */
export function deliveryItem(delivery) {
  const last = delivery.tries.at(-1);
  const answer = last ? (last.status_code ? `answered ${last.status_code}` : last.error) : "not tried yet";
  const tries = `${delivery.tries.length} ${delivery.tries.length === 1 ? "try" : "tries"}`;
  return el("li", { "data-delivery": delivery.status },
    el("span.delivery", null, delivery.status), " webhook ", own(delivery.url ?? delivery.webhook_id),
    " · ", tries, " · ", own(answer),
    delivery.next_try_at && [" · next try ", time(delivery.next_try_at, "due")]);
}

