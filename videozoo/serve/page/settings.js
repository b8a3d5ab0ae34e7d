// The settings of an answer: the model, windows or segments, and how many entries.

import { byId, el } from "./dom.js";
import { counted } from "./words.js";

const WINDOWS_S = [2, 4, 8, 16, 30, 60, 120]; // of the automatic choice: about 24 in a video
const SHORTEST_S = 4; // of a video that gets windows by itself

export class Settings {
  #models = [];
  #fittedTo = null; // the model whose options are shown

  constructor(onChange) {
    byId("settings").addEventListener("submit", (event) => event.preventDefault());
    byId("settings").addEventListener("change", () => {
      this.#fit();
      onChange();
    });
  }

  get areReady() {
    return this.#models.length > 0;
  }

  get model() {
    return this.#models.find(({ name }) => name === byId("model").value);
  }

  // Offers the models of the server.
  fill(models) {
    this.#models = models;
    byId("model").replaceChildren(...models.map(({ name }) => el("option", { value: name }, name)));
    byId("model").value = (models.find((model) => model.default) ?? models[0]).name;
    byId("model-field").hidden = models.length < 2;
    byId("model-name").hidden = models.length > 1;
    byId("model-name").textContent = models[0].name;
    byId("settings").hidden = false;
    this.#fit();
  }

  // The parameters of a request for a video of this length, 0 if unknown; null if the query is missing.
  query(duration_s) {
    const { name, searches, timed } = this.model;
    const found = { model: name, with: "srt,edl,view" };
    if (byId("top").value) found.top_k = byId("top").value;
    const window_s = this.#window_s(duration_s);
    if (searches) found.query = byId("query").value.trim();
    else if (byId("finder").value) found.segments = byId("finder").value;
    else if (!timed && window_s !== null) found.window_s = window_s;
    return found.query === "" ? null : found;
  }

  #window_s(duration_s) {
    const wanted = byId("window").value;
    if (wanted === "none") return null;
    if (wanted !== "auto") return Number(wanted);
    if (duration_s && duration_s < SHORTEST_S) return null;
    return WINDOWS_S.find((each_s) => duration_s / each_s <= 24) ?? WINDOWS_S.at(-1);
  }

  // Shows the settings that the chosen model has.
  #fit() {
    const { model } = this;
    if (this.#fittedTo !== model) {
      this.#fittedTo = model;
      this.#fillTop();
      this.#fillFinder();
      this.#fillKnown();
    }
    byId("search").hidden = !model.searches;
    byId("window-field").hidden = model.searches || model.timed || byId("finder").value !== "";
  }

  // The largest number of labels, segments or moments; a localizer gives all segments if nothing is chosen.
  #fillTop() {
    const { searches, timed } = this.model;
    const noun = searches ? "moments" : timed ? "segments" : "labels";
    const numbers = timed && !searches ? ["", 3, 5, 10, 20] : [3, 5, 10, 20];
    byId("top").replaceChildren(...numbers.map((number) => el("option", { value: number }, `${number || "all"} ${noun}`)));
    byId("top").value = numbers.includes("") ? "" : "5";
  }

  #fillFinder() {
    const { model } = this;
    const finders = this.#models.filter((each) => each.timed && !each.searches && each !== model);
    byId("finder").replaceChildren(el("option", { value: "" }, "no model"), ...finders.map(({ name }) => el("option", {}, name)));
    byId("finder-field").hidden = model.searches || !finders.length;
  }

  #fillKnown() {
    const { name, class_names, num_classes, timed } = this.model;
    byId("known-title").textContent = `${name} knows ${counted(num_classes, timed ? "name" : "label")}`;
    byId("known-names").replaceChildren(...class_names.map((each) => el("li", {}, each)));
    byId("known").hidden = !class_names.length;
  }
}
