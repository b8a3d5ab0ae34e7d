// The answer beside the video: bars of the moment and of the whole video, the list of events, downloads.

import { byId, el } from "./dom.js";
import { clock, percent } from "./words.js";

const MOST_EVENTS = 500; // in the list; the downloads have all of them
const TITLES = { moment: "Moments", sentence: "Sentences", change: "Labels over time", segment: "Segments" };

export class Panels {
  #shown = null;
  #rows = new Map(); // the buttons in the list of events, by span

  constructor(onSeek) {
    this.onSeek = onSeek;
    byId("events").addEventListener("keydown", (event) => this.#onKey(event));
  }

  // Shows an answer for a file of this name; null takes the panels away.
  show(shown, fileName) {
    this.#shown = shown;
    byId("answers").hidden = !shown;
    if (!shown) return;
    byId("now-panel").hidden = !shown.view.is_timed || shown.isInList;
    byId("whole-panel").hidden = !shown.whole.length || shown.isInList;
    byId("events-panel").hidden = !shown.view.is_timed;
    this.#fillBars(byId("whole"), shown.whole);
    this.#fillEvents();
    this.#fillDownloads(fileName.replace(/\.[^.]*$/, "") || "answer");
  }

  setTime(time_s) {
    byId("now-time").textContent = clock(time_s, 0.5);
    if (!byId("now-panel").hidden) this.#fillBars(byId("now"), this.#shown.stretchAt(time_s)?.ranked ?? []);
  }

  // Emphasizes the row of a span that holds now.
  mark(span, isCurrent) {
    if (isCurrent) this.#rows.get(span)?.setAttribute("aria-current", "true");
    else this.#rows.get(span)?.removeAttribute("aria-current");
  }

  #fillBars(list, ranked) {
    while (list.children.length > ranked.length) list.lastChild.remove();
    while (list.children.length < ranked.length) {
      list.append(el("li", {}, el("span", { class: "name" }), el("span", { class: "score" }), el("span", { class: "share" })));
    }
    ranked.forEach(({ text, score }, place) => {
      const row = list.children[place];
      row.style.setProperty("--color", this.#shown.color(text));
      row.style.setProperty("--share", Math.min(Math.max(score, 0), 1));
      row.children[0].textContent = text;
      row.children[1].textContent = percent(score);
    });
  }

  #fillEvents() {
    const { spans, searches, eventNoun } = this.#shown;
    const ordered = searches ? spans.toSorted((a, b) => b.score - a.score) : spans;
    this.#rows = new Map(ordered.slice(0, MOST_EVENTS).map((span, place) => [span, this.#row(span, place === 0)]));
    const rest = spans.length - this.#rows.size;
    const notes = rest ? [`and ${rest} more in the downloads`] : spans.length ? [] : ["Nothing was found."];
    byId("events-title").textContent = `${TITLES[eventNoun]} (${spans.length})`;
    byId("events").replaceChildren(
      ...[...this.#rows.values()].map((row) => el("li", {}, row)),
      ...notes.map((note) => el("li", { class: "faint" }, note)));
  }

  #row({ start_s, end_s, label, score }, isFirst) {
    return el("button", {
      type: "button",
      tabindex: isFirst ? 0 : -1, // arrows move on
      color: this.#shown.color(label),
      onclick: () => this.onSeek(start_s),
    },
    el("span", { class: "times" }, `${clock(start_s, 0.5)} – ${clock(end_s, 0.5)}`),
    el("span", { class: "name" }, label),
    el("span", { class: "score" }, percent(score)));
  }

  #fillDownloads(stem) {
    for (const link of byId("downloads").children) URL.revokeObjectURL(link.href);
    const files = { json: `${JSON.stringify(this.#shown.json, null, 2)}\n`, ...this.#shown.files };
    byId("downloads").replaceChildren(...Object.entries(files).map(([ending, text]) => {
      const type = ending === "json" ? "application/json" : "text/plain";
      const href = URL.createObjectURL(new Blob([text], { type }));
      return el("a", { class: "button", download: `${stem}.${ending}`, href }, ending.toUpperCase());
    }));
  }

  #onKey(event) {
    const buttons = [...this.#rows.values()];
    const place = buttons.indexOf(event.target);
    const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (place < 0 || !buttons[next]) return;
    event.preventDefault();
    buttons[place].tabIndex = -1;
    buttons[next].tabIndex = 0;
    buttons[next].focus();
  }
}
