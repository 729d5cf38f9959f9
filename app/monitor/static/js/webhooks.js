// The webhook endpoints and their deliveries.

import { ApiError, call, queryOf, unwrap } from "./api.js";
import { ask, copyButton } from "./dialogs.js";
import { el, fill, keyed, own, setText, show } from "./dom.js";
import { count, duration, percent, shortId, time } from "./format.js";
import { firstAnswer } from "./page.js";
import { announce, notice } from "./shell.js";
import { statusChip } from "./status.js";

const REFRESH_MS = 5_000;
const DELIVERIES = 50;

const root = document.getElementById("webhooks");
const list = el("div.endpoints");
const empty = el("div");
const rows = new Map();

function showEndpoints({ data }) {
  keyed(list, rows, data, (webhook) => webhook.id, endpoint);
  fill(empty, data.length > 0, () => data.length === 0 && el("div.empty", null,
    el("h2", null, "No webhooks yet"),
    el("p", null, "A webhook informs another service of every change of a job's status:"),
    el("pre", null, `curl -X POST ${location.origin}/api/webhooks \\\n  -H "Content-Type: application/json" \\\n  -d '{"url": "https://example.com/hook"}'`)));
}

/** Makes the card of an endpoint. */
function endpoint(webhook) {
  const path = `/api/webhooks/${webhook.id}`;
  const state = el("span.state-word");
  const facts = el("p.muted");
  const failing = el("p.remark.warn");
  const figures = el("dl.figures");
  const body = el("tbody");
  const table = el("table.plain.cards", null,
    el("thead", null, el("tr", null, ["State", "Change", "Created", "Tries", "Last answer", ""].map((name) => el("th", { scope: "col" }, name || el("span.unseen", null, "Actions"))))), body);
  const none = el("p.muted");
  const known = new Map();
  const button = (text, act) => el("button", { type: "button", click: () => attempt(act) }, text);
  const element = el("section.card.endpoint", { "data-row": webhook.id },
    el("div.title-row", null, el("h2", null, own(webhook.url)), state,
      el("div.actions", null, button("Send a test", sendTest), !webhook.from_settings && button("Rotate the secret…", rotate))),
    webhook.description && el("p", null, own(webhook.description)),
    facts, failing, figures,
    el("details", { open: true }, el("summary", null, "Deliveries"), el("div.scroll", null, table), none));

  async function sendTest() {
    await call(`${path}/test`, { method: "POST" });
    announce("A test is on its way");
    await refreshDeliveries();
  }

  async function rotate() {
    const agreed = await ask({
      title: "Rotate the secret?", confirm: "Rotate", dismiss: "Keep it", isDangerous: true,
      content: [el("p", null, "Messages are signed with the old and the new secret for a day. Only the next dialog shows the new one.")],
    });
    if (!agreed) return;
    const { secret } = (await call(`${path}/rotate-secret`, { method: "POST" })).data;
    await ask({ title: "The new secret", content: [el("p", null, el("code.secret", null, secret)), copyButton("Copy", () => secret)] });
  }

  async function refreshDeliveries() {
    const { data, pagination } = await call(`${path}/deliveries${queryOf({ limit: DELIVERIES })}`);
    const tries = data.flatMap((delivery) => delivery.tries);
    const failed = tries.filter((one) => !(one.status_code >= 200 && one.status_code < 300));
    const next = data.map((delivery) => delivery.next_try_at).filter(Boolean).sort()[0];
    const times = tries.map((one) => one.duration_ms).filter(Number.isFinite).sort((a, b) => a - b);
    fill(figures, [data.length, tries.length, failed.length, next, times.length], () => data.length > 0 && [
      shownFigure("failure rate", tries.length ? percent(failed.length / tries.length) : "–", `of ${count(tries.length)} tries`),
      shownFigure("waiting", count(data.filter((one) => one.status === "pending").length)),
      shownFigure("given up", count(data.filter((one) => one.status === "failed").length)),
      times.length > 0 && shownFigure("typical answer", duration(times[Math.floor(times.length / 2)] / 1000)),
      next && shownFigure("next try", time(next, "due")),
    ]);
    keyed(body, known, data, (one) => one.id, (one) => deliveryRow(one, redeliver));
    show(table, data.length > 0);
    setText(none, data.length === 0 ? "No deliveries yet." : pagination.has_more ? `The newest ${DELIVERIES}.` : "");
  }

  async function redeliver(delivery) {
    await call(`${path}/deliveries/${delivery.id}/redeliver`, { method: "POST" });
    announce("The delivery is sent again");
    await refreshDeliveries();
  }

  const update = (now) => {
    setText(state, now.active ? "active" : "inactive");
    state.dataset.active = now.active;
    const wants = [
      now.statuses ? now.statuses.join(", ") : "all statuses",
      now.job_types && `types ${now.job_types.join(", ")}`,
      now.domains && `domains ${now.domains.join(", ")}`,
      now.from_settings && "from the settings",
    ];
    setText(facts, wants.filter(Boolean).join(" · "));
    fill(failing, [now.disabled_reason, now.failing_since], () => now.disabled_reason ? own(now.disabled_reason) : now.failing_since && ["Failing since ", time(now.failing_since)]);
    show(failing, Boolean(now.disabled_reason || now.failing_since));
  };
  update(webhook);
  return { element, update, refreshDeliveries };
}

const shownFigure = (name, value, note) => el("div.figure", null, el("dt", null, name), el("dd", null, value, note && el("small", null, " ", note)));

function deliveryRow(delivery, redeliver) {
  const state = el("span.delivery");
  const tries = el("td", { "data-label": "Tries" });
  const answer = el("td.wrap", { "data-label": "Last answer" });
  const { body } = delivery;
  const element = el("tr", null,
    el("td", { "data-label": "State" }, state),
    el("td.name", null, body.event === "webhook_test" ? el("span", null, "test")
      : el("a", { href: `/jobs/${delivery.job_id}`, title: delivery.job_id }, own(body.domain)), " ", statusChip(body.new_status)),
    el("td", { "data-label": "Created" }, time(delivery.created_at, "ago")),
    tries, answer,
    el("td.actions", null, el("button", { type: "button", click: () => attempt(() => redeliver(delivery)), "aria-label": `Send delivery ${shortId(delivery.id)} again` }, "Redeliver")));
  const update = (now) => {
    element.dataset.delivery = now.status;
    setText(state, now.status);
    const last = now.tries.at(-1);
    fill(tries, [now.tries.length, now.next_try_at], () => [String(now.tries.length), now.next_try_at && [" · next ", time(now.next_try_at, "due")]].flat());
    fill(answer, last ?? null, () => (last ? [last.status_code ? el("strong", null, String(last.status_code)) : null, last.status_code ? " " : null, own(last.error ?? last.answer ?? "")] : "–"));
  };
  update(delivery);
  return { element, update };
}

async function attempt(act) {
  try {
    await act();
    notice("webhooks", null);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    notice("webhooks", error.message);
  }
}

async function refresh() {
  if (document.hidden) return;
  await attempt(async () => {
    showEndpoints(await call(`/api/webhooks${queryOf({ limit: 200 })}`));
    await refreshAllDeliveries();
  });
}

async function refreshAllDeliveries() {
  for (const row of rows.values()) {
    if (row.element.querySelector("details").open) await row.refreshDeliveries();
  }
}

function start() {
  root.append(empty, list);
  try {
    showEndpoints(unwrap(firstAnswer("webhooks")));
  } catch (error) {
    notice("webhooks", error.message);
  }
  refresh();
  setInterval(refresh, REFRESH_MS);
}

start();
