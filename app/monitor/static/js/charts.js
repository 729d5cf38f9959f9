// Charts by uPlot, in the colours of the page.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { zone } from "./format.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const DAY = { day: "numeric", month: "short" };
const HOUR = { hour: "2-digit", minute: "2-digit" };

const clock = (options) => new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone() });

/** Returns the labels of the time axis: times of day, and a date where a day begins. */
function timeLabels(_plot, seconds, _axis, _space, step) {
  const day = clock(DAY);
  const hour = clock(step < 60 ? { ...HOUR, second: "2-digit" } : HOUR);
  const isMidnight = (at) => clock(HOUR).format(at * 1000) === "00:00";
  return seconds.map((at) => (step >= 86_400 || isMidnight(at) ? day : hour).format(at * 1000));
}

/**
 * Draws a chart, and again when its size, its colours or the time zone change.
 *
 * @param {HTMLElement} place The element to draw into.
 * @param {object} options label (of the whole chart), height, format (of values), range (returns
 *   the first and last second to show), series: [{label, color (a custom property), bars, stepped}].
 * @returns {{set: function(Array)}} `set` takes uPlot's columns: seconds, then the values.
 */
export function chart(place, { label, height = 180, series, format = String, range = null }) {
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", label);
  let plot = null;
  let data = [[], ...series.map(() => [])];

  const draw = () => {
    plot?.destroy();
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: `12px ${css("--font")}` };
    plot = new uPlot({
      width: place.clientWidth || 300,
      height,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone()), // ticks at its midnights
      cursor: { y: false, points: { size: 6 } },
      legend: { live: true },
      scales: { x: { time: true, ...(range ? { range: () => range() } : {}) }, y: { range: (_, __, max) => [0, Math.max(1, max) * 1.05] } },
      axes: [{ ...axis, space: 64, size: 34, values: timeLabels }, { ...axis, size: 52, values: (_, values) => values.map(format) }],
      series: [{ value: (_, seconds) => (seconds == null ? "–" : clock({ ...DAY, ...HOUR }).format(seconds * 1000)) }, ...series.map(({ label: name, color, bars, stepped }) => ({
        label: name,
        stroke: css(color),
        fill: `${css(color)}${bars ? "b0" : "22"}`,
        width: bars ? 0 : 2,
        points: { show: !bars && !stepped, size: 5 },
        value: (_, value) => (value == null ? "–" : format(value)),
        ...(bars ? { paths: uPlot.paths.bars({ size: [0.7, 40] }) } : {}),
        ...(stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
      }))],
    }, data, place);
  };
  new ResizeObserver(() => plot && plot.width !== place.clientWidth && plot.setSize({ width: place.clientWidth, height })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.addEventListener("zone-changed", draw);
  return {
    set(columns) {
      data = columns;
      if (plot) plot.setData(data);
      else draw();
    },
  };
}
