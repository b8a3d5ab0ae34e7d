// The answer as the page shows it: the "view" of the server's JSON, with colors and the state at a time.

import { counted, percent } from "./words.js";

// distinguishable with color blindness (Okabe and Ito, 2008), slightly softened, in order of contrast
const PALETTE = [
  [0, 114, 178], [230, 130, 0], [0, 158, 115], [204, 90, 160], [86, 180, 233], [213, 70, 30], [200, 175, 30], [120, 94, 160],
];
const LONGEST_NAME = 28; // of a lane
const MOST_LANES = 8;
const UNNAMED = "segment";

export class Shown {
  // `searches` says that the spans are the moments of a query.
  constructor(document, { searches }) {
    const { view, files = {}, ...json } = document;
    const [prediction] = json.predictions;
    Object.assign(this, { json, files, view, searches, info: prediction.info });
    this.whole = view.whole;
    this.stretches = view.stretches;
    this.spans = view.spans.map((span) => ({ ...span, label: span.label || UNNAMED }));
    this.areSentences = view.noun === "sentence";
    this.duration_s = [...this.spans, ...this.stretches].reduce((end_s, each) => Math.max(end_s, each.end_s), this.info.duration_s || 0.001);
    const names = [...view.names, ...this.spans.map((span) => span.label), ...view.lanes.map((lane) => lane.name)];
    this.places = new Map([...new Set(names)].map((name, place) => [name, place]));
  }

  color(name) {
    return `rgb(${PALETTE[(this.places.get(name) ?? 0) % PALETTE.length].join(" ")})`;
  }

  get eventNoun() {
    if (this.searches) return "moment";
    if (this.areSentences) return "sentence";
    return this.view.curves.length ? "change" : "segment";
  }

  // Whether the list of events has all that is known.
  get isInList() {
    return this.searches || (this.areSentences && this.spans.length === 1);
  }

  // The answer in one line.
  get summary() {
    const [best] = this.whole;
    if (this.view.is_timed && !this.spans.length) return "Nothing was found in this video.";
    if (this.areSentences && this.spans.length === 1) return this.spans[0].label;
    if (this.view.is_timed && !this.view.curves.length) return `Found ${counted(this.spans.length, this.eventNoun)}.`;
    return best ? `Mostly ${best.text} (${percent(best.score)}).` : "No label.";
  }

  // The stretch that holds a time, or undefined.
  stretchAt(time_s) {
    return this.stretches[lastBefore(this.stretches, time_s)];
  }

  spansAt(time_s) {
    return this.spans.filter((span) => span.start_s <= time_s && time_s < span.end_s);
  }

  marksAt(time_s) {
    return this.view.marks[lastBefore(this.view.marks, time_s)]?.boxes ?? [];
  }

  // The spans in lanes: [{name, rows: [[span, ...], ...]}], a lane for each name if they are few and short.
  lanes() {
    const byName = new Map();
    for (const span of this.spans) byName.set(span.label, [...(byName.get(span.label) ?? []), span]);
    const isNoun = this.areSentences || this.view.curves.length;
    const isOne = isNoun || byName.size > MOST_LANES || [...byName.keys()].some((name) => name.length > LONGEST_NAME);
    if (isOne) return [{ name: isNoun ? this.view.noun : "segments", rows: rowsOf(this.spans) }];
    return [...byName].map(([name, spans]) => ({ name, rows: rowsOf(spans) }));
  }
}

// Spans that overlap lie in different rows.
function rowsOf(spans) {
  const rows = [];
  for (const span of spans) {
    const row = rows.find((each) => each.at(-1).end_s <= span.start_s + 1e-6);
    if (row) row.push(span);
    else rows.push([span]);
  }
  return rows;
}

// The index of the stretch that holds a time, -1 if none does; stretches are in order and do not overlap.
function lastBefore(stretches, time_s) {
  let [low, high] = [0, stretches.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (stretches[middle].start_s <= time_s) low = middle + 1;
    else high = middle;
  }
  return low > 0 && time_s < stretches[low - 1].end_s ? low - 1 : -1;
}
