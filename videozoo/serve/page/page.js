// The page: a video goes to the server, its answer comes back and is shown in time with the player.

import { byId, el } from "./dom.js";
import { Player } from "./player.js";
import { predict, readModels, Refusal, setToken } from "./server.js";
import { Shown } from "./shown.js";
import { Timeline } from "./timeline.js";
import { clock, counted, duration, explain, percent, size, tooMuch } from "./words.js";

const WINDOWS_S = [2, 4, 8, 16, 30, 60, 120]; // of the automatic choice: about 24 in a video
const SHORTEST_S = 4; // of a video that gets windows by itself
const PATIENCE_S = 5; // of people who wait, before they look for a clock
const MOST_TRIES = 30; // while the server is busy
const MOST_EVENTS = 500; // in the list; the downloads have all of them

const player = new Player({ video: byId("video"), boxes: byId("boxes"), unplayable: byId("unplayable") }, onTime);
const timeline = new Timeline(byId("timeline"), (time_s) => player.seek(time_s));

let models = [];
let limits = {};
let file = null;
let picture = { duration_s: 0 };
let shown = null;
let askedAt_ms = 0;
let asking = null; // the AbortController of the request in progress
let rows = new Map(); // the buttons in the list of events, by span
let current = new Set(); // the spans that hold at the player's time

// ---- settings --------------------------------------------------------------------------------------------

async function start() {
  try {
    ({ models, limits } = await withToken(readModels));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return complain(...explain(error), { "Try again": start });
  }
  byId("model").replaceChildren(...models.map(({ name }) => el("option", { value: name }, name)));
  byId("model").value = (models.find((model) => model.default) ?? models[0]).name;
  byId("model-field").hidden = models.length < 2;
  byId("model-name").hidden = models.length > 1;
  byId("model-name").textContent = models[0].name;
  byId("settings").hidden = false;
  byId("limits").textContent = limitsInWords();
  clearProblem();
  fitSettings();
}

function limitsInWords() {
  const parts = [];
  if (limits.size_bytes) parts.push(size(limits.size_bytes));
  if (limits.duration_s) parts.push(duration(limits.duration_s));
  return `${parts.length ? `Up to ${parts.join(" and ")}. ` : ""}The server deletes it after the answer.`;
}

function chosenModel() {
  return models.find(({ name }) => name === byId("model").value);
}

// Shows the settings that the chosen model has.
function fitSettings() {
  const model = chosenModel();
  const finders = models.filter((each) => each.timed && !each.searches && each !== model);
  byId("search").hidden = !model.searches;
  byId("window-field").hidden = model.searches || model.timed || byId("finder").value !== "";
  byId("finder-field").hidden = model.searches || !finders.length;
  if (byId("finder").dataset.of !== model.name) {
    byId("finder").dataset.of = model.name;
    fillTop(model);
    byId("finder").replaceChildren(el("option", { value: "" }, "no model"), ...finders.map(({ name }) => el("option", {}, name)));
    return fitSettings();
  }
  const known = byId("known");
  known.hidden = !model.class_names.length;
  known.firstElementChild.textContent = `${chosenModel().name} knows ${counted(model.num_classes, model.searches || model.timed ? "name" : "label")}`;
  known.lastElementChild.replaceChildren(...model.class_names.map((name) => el("li", {}, name)));
}

// The largest number of labels, segments or moments; a localizer gives all segments if nothing is chosen.
function fillTop(model) {
  const noun = model.searches ? "moments" : model.timed ? "segments" : "labels";
  const isAll = model.timed && !model.searches;
  const numbers = [3, 5, 10, 20].map((number) => el("option", { value: number, selected: number === 5 && !isAll }, `${number} ${noun}`));
  byId("top").replaceChildren(...(isAll ? [el("option", { value: "", selected: true }, `all ${noun}`)] : []), ...numbers);
}

function settings() {
  const model = chosenModel();
  const query = { model: model.name, with: "srt,edl,view" };
  if (byId("top").value) query.top_k = byId("top").value;
  if (model.searches) query.query = byId("query").value.trim();
  else if (byId("finder").value) query.segments = byId("finder").value;
  else if (!model.timed && window_s() !== null) query.window_s = window_s();
  return query;
}

function window_s() {
  const wanted = byId("window").value;
  if (wanted === "none") return null;
  if (wanted !== "auto") return Number(wanted);
  if (picture.duration_s && picture.duration_s < SHORTEST_S) return null;
  return WINDOWS_S.find((each_s) => picture.duration_s / each_s <= 24) ?? WINDOWS_S.at(-1);
}

// ---- a video and its answer ------------------------------------------------------------------------------

async function choose(chosen) {
  forget();
  file = chosen;
  byId("drop").hidden = byId("known").hidden = true;
  byId("work").hidden = byId("other").hidden = false;
  byId("filename").textContent = `${file.name} (${size(file.size)})`;
  document.title = `${file.name} – videozoo`;
  picture = await player.open(file);
  if (file !== chosen) return; // another one was chosen meanwhile
  if (player.isPlayable) byId("video").focus({ preventScroll: true });
  const reason = tooMuch(file, picture, limits);
  if (reason) complain(reason, "It was not sent.", { "Choose another video": pick });
  else await ask();
}

function forget() {
  asking?.abort();
  clearProblem();
  setState("");
  showAnswer(null);
}

// Sends the file with the settings, as often as needed, and shows its answer.
async function ask() {
  if (!file || tooMuch(file, picture, limits)) return;
  asking?.abort();
  clearProblem();
  showAnswer(null);
  if (chosenModel().searches && !byId("query").value.trim()) {
    setState("Type what to look for, then press Search.");
    return;
  }
  const controller = (asking = new AbortController());
  askedAt_ms = performance.now();
  showElapsed();
  try {
    const answer = await withToken(() => askPatiently(controller.signal));
    setState("");
    showAnswer(new Shown(answer));
  } catch (error) {
    if (asking !== controller) return; // a later request took its place
    setState(error.name === "AbortError" ? "Cancelled." : "");
    if (error instanceof Refusal) complain(...explain(error), { "Try again": ask, "Choose another video": pick });
    else if (error.name === "AbortError") complain("Cancelled.", "", { "Send it again": ask });
    else {
      complain("The answer could not be shown.", String(error), { "Try again": ask });
      throw error;
    }
  }
}

async function askPatiently(signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      setState("Sending the video …", { share: 0 });
      return await predict(file, settings(), { onUpload: (share) => showUpload(share), signal });
    } catch (error) {
      if (!(error instanceof Refusal && error.status === 429) || tries === MOST_TRIES) throw error;
      await pause(error.retryAfter_s, signal);
    }
  }
}

function showUpload(share) {
  if (share < 1) byId("progress").value = share;
  else setState(chosenModel().searches ? "Searching …" : "Looking at the video …", { share: null });
}

async function pause(time_s, signal) {
  setState("The server is busy. Waiting for a free place …", { share: null });
  await new Promise((resolve) => setTimeout(resolve, 1000 * time_s));
  if (signal.aborted) throw new DOMException("cancelled", "AbortError");
}

// Asks for the server's token as often as the server refuses the one it has got.
async function withToken(work) {
  for (let isFirst = true; ; isFirst = false) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Refusal && error.status === 401)) throw error;
      if (!isFirst) byId("token-problem").textContent = "This is not the token of the server. Try again.";
      await askToken();
    }
  }
}

function askToken() {
  const dialog = byId("token-dialog");
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      setToken(byId("token").value.trim());
      byId("token").value = "";
      resolve();
    }, { once: true });
  });
}

// ---- the state in words ----------------------------------------------------------------------------------

function setState(text, { share } = {}) {
  const isBusy = share !== undefined;
  byId("status").textContent = text;
  byId("cancel").hidden = byId("progress").hidden = byId("elapsed").hidden = !isBusy;
  if (share === null) byId("progress").removeAttribute("value");
  else if (isBusy) byId("progress").value = share;
}

function showElapsed() {
  const elapsed_s = (performance.now() - askedAt_ms) / 1000;
  byId("elapsed").textContent = elapsed_s < PATIENCE_S ? "" : clock(elapsed_s);
}

function complain(headline, advice, actions = {}) {
  const buttons = Object.entries(actions).map(([name, onclick]) => el("button", { type: "button", onclick }, name));
  byId("problem").replaceChildren(
    el("div", {}, el("p", { class: "headline" }, headline), el("p", {}, advice)),
    el("p", { class: "actions" }, ...buttons));
  byId("problem").hidden = false;
}

function clearProblem() {
  byId("problem").hidden = true;
  byId("problem").replaceChildren();
}

// ---- the answer ------------------------------------------------------------------------------------------

function showAnswer(answer) {
  shown = answer;
  current = new Set();
  byId("timeline").hidden = byId("answers").hidden = !shown;
  timeline.show(shown);
  if (shown) {
    const isInList = chosenModel().searches || (shown.areSentences && shown.spans.length === 1);
    byId("now-panel").hidden = !shown.view.is_timed || isInList;
    byId("whole-panel").hidden = !shown.whole.length || isInList;
    byId("events-panel").hidden = !shown.view.is_timed;
    fillBars(byId("whole"), shown.whole);
    fillEvents();
    fillDownloads();
    setState(summary());
  }
  player.show(shown);
}

function eventsNoun() {
  if (chosenModel().searches) return "moment";
  if (shown.areSentences) return "sentence";
  return shown.view.curves.length ? "change" : "segment";
}

function summary() {
  const best = shown.whole[0];
  if (shown.view.is_timed && !shown.spans.length) return "Nothing was found in this video.";
  if (shown.view.curves.length || !shown.view.is_timed) return best ? `Mostly ${best.text} (${percent(best.score)}).` : "No label.";
  if (shown.areSentences && shown.spans.length === 1) return shown.spans[0].label;
  return `Found ${counted(shown.spans.length, eventsNoun())}.`;
}

function fillBars(list, ranked) {
  while (list.children.length > ranked.length) list.lastChild.remove();
  while (list.children.length < ranked.length) {
    list.append(el("li", {}, el("span", { class: "name" }), el("span", { class: "score" }), el("span", { class: "share" })));
  }
  ranked.forEach(({ text, score }, place) => {
    const row = list.children[place];
    row.style.setProperty("--color", shown.color(text));
    row.style.setProperty("--share", Math.min(Math.max(score, 0), 1));
    row.children[0].textContent = text;
    row.children[1].textContent = percent(score);
  });
}

function fillEvents() {
  const spans = chosenModel().searches ? shown.spans.toSorted((a, b) => b.score - a.score) : shown.spans;
  const listed = spans.slice(0, MOST_EVENTS);
  const title = { moment: "Moments", sentence: "Sentences", change: "Labels over time", segment: "Segments" }[eventsNoun()];
  byId("events-title").textContent = `${title} (${shown.spans.length})`;
  rows = new Map(listed.map((span, place) => [span, el("button", {
    type: "button",
    tabindex: place === 0 ? 0 : -1, // arrows move on
    color: shown.color(span.label),
    onclick: () => player.seek(span.start_s),
  },
  el("span", { class: "times" }, `${clock(span.start_s, 0.5)} – ${clock(span.end_s, 0.5)}`),
  el("span", { class: "name" }, span.label),
  el("span", { class: "score" }, percent(span.score)))]));
  byId("events").replaceChildren(...[...rows.values()].map((row) => el("li", {}, row)));
  if (shown.spans.length > MOST_EVENTS) {
    byId("events").append(el("li", { class: "faint" }, `and ${shown.spans.length - MOST_EVENTS} more in the downloads`));
  }
  if (!listed.length) byId("events").append(el("li", { class: "faint" }, "Nothing was found."));
}

function fillDownloads() {
  const stem = file.name.replace(/\.[^.]*$/, "") || "answer";
  const files = { json: `${JSON.stringify(shown.json, null, 2)}\n`, ...shown.files };
  for (const link of byId("downloads").children) URL.revokeObjectURL(link.href);
  byId("downloads").replaceChildren(...Object.entries(files).map(([ending, text]) => el("a", {
    class: "button", download: `${stem}.${ending}`, href: URL.createObjectURL(new Blob([text], { type: ending === "json" ? "application/json" : "text/plain" })),
  }, ending.toUpperCase())));
}

// ---- the time --------------------------------------------------------------------------------------------

function onTime(player_s) {
  if (!shown) return;
  const time_s = Math.min(player_s, shown.duration_s - 1e-6); // the last stretch holds at the very end, too
  timeline.setTime(time_s);
  if (player.isPlayable && !player.video.paused) timeline.follow();
  byId("now-time").textContent = clock(time_s, 0.5);
  const stretch = shown.stretchAt(time_s);
  if (!byId("now-panel").hidden) fillBars(byId("now"), stretch?.ranked ?? []);
  const now = new Set(shown.spansAt(time_s));
  for (const span of current) if (!now.has(span)) mark(span, false);
  for (const span of now) if (!current.has(span)) mark(span, true);
  current = now;
}

function mark(span, isCurrent) {
  timeline.mark(span, isCurrent);
  if (isCurrent) rows.get(span)?.setAttribute("aria-current", "true");
  else rows.get(span)?.removeAttribute("aria-current");
}

function toNeighbor(direction) {
  const starts = shown?.spans.map((span) => span.start_s) ?? [];
  const now_s = player.time_s;
  const start_s = direction > 0 ? starts.find((each) => each > now_s + 0.01) : starts.findLast((each) => each < now_s - 0.3);
  if (start_s !== undefined) player.seek(start_s);
}

// ---- keys, drops, buttons --------------------------------------------------------------------------------

const KEYS = {
  " ": () => player.toggle(),
  ArrowLeft: () => player.seek(player.time_s - 1),
  ArrowRight: () => player.seek(player.time_s + 1),
  ",": () => player.seek(player.time_s - frame_s()),
  ".": () => player.seek(player.time_s + frame_s()),
  n: () => toNeighbor(1),
  p: () => toNeighbor(-1),
};

function frame_s() {
  return 1 / (shown?.info.fps || 25);
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || byId("work").hidden || byId("token-dialog").open) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === " " && event.target.closest("button, a, summary, label")) return; // presses it
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault(); // the player has keys of its own
  event.stopPropagation();
  action();
}

function onEventsKey(event) {
  const buttons = [...byId("events").querySelectorAll("button")];
  const place = buttons.indexOf(event.target);
  const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (place < 0 || !buttons[next]) return;
  event.preventDefault();
  buttons[place].tabIndex = -1;
  buttons[next].tabIndex = 0;
  buttons[next].focus();
}

function pick() {
  byId("file").click();
}

function onDrop(event) {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const [dropped] = event.dataTransfer.files;
  if (dropped && models.length) choose(dropped);
}

setInterval(showElapsed, 1000);
document.addEventListener("keydown", onKey, true);
byId("events").addEventListener("keydown", onEventsKey);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", onDrop);
byId("file").addEventListener("change", (event) => {
  const [chosen] = event.target.files;
  if (chosen && models.length) choose(chosen);
  event.target.value = ""; // the same file may be chosen again
});
byId("other").addEventListener("click", pick);
byId("cancel").addEventListener("click", () => asking?.abort());
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
byId("settings").addEventListener("submit", (event) => event.preventDefault());
byId("settings").addEventListener("change", () => {
  fitSettings();
  if (file) byId("known").hidden = true;
  ask();
});
byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());

start();
