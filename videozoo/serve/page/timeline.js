// Answers over time: bars, curves and shades in lanes, with a time axis that seeks. Positions are shares of the
// video's length, so zooming changes one width and the browser does the rest.

import { el, svg } from "./dom.js";
import { clock, percent } from "./words.js";

const STEPS_S = [0.04, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const TICK_PX = 76;
const CLOSEST_S = 0.5; // seconds over the full width
const ZOOM = 1.6;
const MOST_CELLS = 2000; // of a lane of shades
const MARGIN = 0.04; // around the events, in shares of the width

export class Timeline {
  #shown = null;
  #zoom = 1;
  #bars = new Map(); // by span
  #time_s = 0;
  #wasSeen = true; // the playhead, at the last call of `follow`
  #wasAt_px = 0; // the scroller, then

  constructor(root, onSeek) {
    this.onSeek = onSeek;
    this.axis = el("div", {
      class: "axis", role: "slider", tabindex: 0, "aria-label": "Time in the video", "aria-valuemin": 0,
    });
    this.lanes = el("div", { class: "lanes", "aria-hidden": true, onclick: (event) => this.#seekTo(event) });
    this.playhead = el("div", { class: "playhead" });
    this.long = el("div", { class: "long" }, this.axis, this.lanes, el("div", { class: "over" }, this.playhead));
    this.scroller = el("div", { class: "scroller" }, this.long);
    const button = (text, name, onclick) => el("button", { type: "button", class: "quiet", "aria-label": name, title: name, onclick }, text);
    this.toEvents = button("Fit", "Zoom to the segments", () => this.fit());
    const tools = el("p", { class: "tools" },
      button("−", "Zoom out", () => this.zoom(this.#zoom / ZOOM)),
      button("+", "Zoom in", () => this.zoom(this.#zoom * ZOOM)),
      button("All", "Show the whole video", () => this.zoom(1)),
      this.toEvents);
    root.append(el("div", { class: "head" }, el("h2", {}, "Timeline"), tools), this.scroller);

    this.axis.addEventListener("pointerdown", (event) => {
      this.axis.setPointerCapture(event.pointerId);
      this.#seekTo(event);
    });
    this.axis.addEventListener("pointermove", (event) => event.buttons && this.#seekTo(event));
    this.scroller.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    new ResizeObserver(() => this.#drawTicks()).observe(this.scroller);
  }

  show(shown) {
    this.#shown = shown;
    this.#bars = new Map();
    this.lanes.replaceChildren();
    if (!shown) return;
    for (const { name, rows } of shown.lanes()) {
      if (rows.length) this.lanes.append(this.#lane(name, ...rows.map((row) => this.#barRow(name, row))));
    }
    for (const { name, values } of shown.view.curves) this.lanes.append(this.#lane(name, this.#curve(name, values)));
    for (const lane of shown.view.lanes) this.lanes.append(this.#lane(lane.name, this.#shades(lane)));
    this.toEvents.hidden = !shown.spans.length;
    this.axis.setAttribute("aria-valuemax", shown.duration_s.toFixed(2));
    this.zoom(1);
  }

  setTime(time_s) {
    this.#time_s = time_s;
    if (!this.#shown) return;
    this.playhead.style.transform = `translateX(${this.#share(Math.min(time_s, this.#shown.duration_s))})`;
    this.axis.setAttribute("aria-valuenow", time_s.toFixed(2));
    this.axis.setAttribute("aria-valuetext", clock(time_s, 0.5));
  }

  // Emphasizes the bars of the spans that hold now.
  mark(span, isCurrent) {
    this.#bars.get(span)?.classList.toggle("current", isCurrent);
  }

  // Scrolls when the playhead leaves the view by itself, not when somebody scrolls away from it.
  follow() {
    const isLeaving = this.#wasSeen && this.scroller.scrollLeft === this.#wasAt_px && !this.#isSeen(this.#time_s);
    if (isLeaving) this.reveal(this.#time_s);
    this.#wasSeen = this.#isSeen(this.#time_s);
    this.#wasAt_px = this.scroller.scrollLeft;
  }

  // Scrolls so that a time can be seen.
  reveal(time_s) {
    if (!this.#isSeen(time_s)) this.scroller.scrollLeft = this.#at_px(time_s) - 0.1 * this.scroller.clientWidth;
  }

  #at_px(time_s) {
    return (time_s / this.#shown.duration_s) * this.long.clientWidth;
  }

  #isSeen(time_s) {
    const { scrollLeft, clientWidth } = this.scroller;
    return scrollLeft <= this.#at_px(time_s) && this.#at_px(time_s) <= scrollLeft + clientWidth;
  }

  // Shows 1 / zoom of the video, around the playhead or `center_s`.
  zoom(zoom, center_s = this.#time_s) {
    this.#zoom = Math.min(Math.max(zoom, 1), Math.max(1, this.#shown.duration_s / CLOSEST_S));
    this.long.style.width = `${100 * this.#zoom}%`;
    this.scroller.scrollLeft = this.#at_px(center_s) - this.scroller.clientWidth / 2;
    this.#drawTicks();
  }

  // Zooms to the stretch with segments.
  fit() {
    const { spans, duration_s } = this.#shown;
    const start_s = spans[0].start_s; // they are in order
    const end_s = spans.reduce((end, span) => Math.max(end, span.end_s), 0);
    this.zoom((duration_s * (1 - 2 * MARGIN)) / (end_s - start_s), (start_s + end_s) / 2);
  }

  #share(time_s) {
    return `${(100 * time_s) / this.#shown.duration_s}%`;
  }

  #lane(name, ...rows) {
    const title = el("p", { class: "lane-name" }, el("span", {}, name));
    return el("div", { class: "lane", color: this.#shown.color(name) }, title, ...rows);
  }

  #barRow(name, spans) {
    return el("div", { class: "row-of-bars" }, ...spans.map((span) => this.#bar(span, span.label === name ? percent(span.score) : span.label)));
  }

  #bar(span, text) {
    const { start_s, end_s, label, score } = span;
    const bar = el("div", {
      class: "bar",
      color: this.#shown.color(label),
      title: `${label}, ${clock(start_s, 0.5)} to ${clock(end_s, 0.5)}, ${percent(score)}`,
      style: { left: this.#share(start_s), width: this.#share(end_s - start_s) },
      onclick: (event) => {
        event.stopPropagation();
        this.onSeek(start_s);
      },
    }, el("span", {}, text));
    this.#bars.set(span, bar);
    return bar;
  }

  // A score from 0 to 1, as steps.
  #curve(name, values) {
    const { stretches, duration_s } = this.#shown;
    const steps = stretches.map(({ start_s, end_s }, i) => {
      const y = (1 - Math.min(Math.max(values[i], 0), 1)).toFixed(4);
      return `V${y}H${end_s}`.replace(/^/, i && stretches[i - 1].end_s === start_s ? "" : `V1H${start_s}`);
    });
    const line = `M0 1${steps.join("")}V1`;
    return svg("svg", { class: "curve", viewBox: `0 0 ${duration_s} 1`, preserveAspectRatio: "none" }, svg("path", { d: `${line}Z` }));
  }

  // A value over time, as shades; the largest is the darkest.
  #shades({ times_s, values }) {
    const { duration_s } = this.#shown;
    const most = this.#shown.view.lanes.flatMap((lane) => lane.values).reduce((a, b) => Math.max(a, b), 1e-9);
    const step = Math.ceil(values.length / MOST_CELLS);
    const border = (i) => (i === 0 ? 0 : i >= values.length ? duration_s : (times_s[i - 1] + times_s[i]) / 2);
    const cells = [];
    for (let i = 0; i < values.length; i += step) {
      const value = Math.max(...values.slice(i, i + step));
      const [x, end] = [border(i), border(i + step)];
      if (value > 0) cells.push(svg("rect", { x, width: end - x, height: 1, "fill-opacity": (value / most).toFixed(3) }));
    }
    return svg("svg", { class: "shades", viewBox: `0 0 ${duration_s} 1`, preserveAspectRatio: "none" }, ...cells);
  }

  #drawTicks() {
    if (!this.#shown || !this.long.clientWidth) return;
    const { duration_s } = this.#shown;
    const most = Math.max(2, this.long.clientWidth / TICK_PX);
    const step_s = STEPS_S.find((step) => duration_s / step <= most) ?? 14400 * Math.ceil(duration_s / most / 14400);
    const ticks = Array.from({ length: Math.floor(duration_s / step_s + 1e-6) + 1 }, (_, i) => i * step_s);
    const isLast = (time_s) => (1 - time_s / duration_s) * this.long.clientWidth < 40; // its text would stick out
    this.axis.replaceChildren(...ticks.map((time_s) => el("span", {
      class: isLast(time_s) ? "tick bare" : "tick", style: { left: this.#share(time_s) },
    }, isLast(time_s) ? "" : clock(time_s, step_s))));
  }

  #seekTo(event) {
    const { left, width } = this.long.getBoundingClientRect();
    this.onSeek(((event.clientX - left) / width) * this.#shown.duration_s);
  }

  #onWheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // scrolls
    event.preventDefault();
    const { left, width } = this.long.getBoundingClientRect();
    this.zoom(this.#zoom * Math.exp(-event.deltaY / 200), ((event.clientX - left) / width) * this.#shown.duration_s);
  }
}
