// The page: a video goes to the server, its answer comes back and is shown in time with the player.

import { byId, el } from "./dom.js";
import { Panels } from "./panels.js";
import { Player } from "./player.js";
import { predict, readModels, Refusal, setToken } from "./server.js";
import { Settings } from "./settings.js";
import { Shown } from "./shown.js";
import { Timeline } from "./timeline.js";
import { clock, duration, explain, size, tooMuch } from "./words.js";

const PATIENCE_S = 5; // of people who wait, before they look for a clock
const MOST_TRIES = 30; // while the server is busy

const player = new Player({ video: byId("video"), boxes: byId("boxes"), unplayable: byId("unplayable") }, onTime);
const timeline = new Timeline(byId("timeline"), (time_s) => player.seek(time_s));
const panels = new Panels(seek);
const settings = new Settings(() => ask());

let limits = {};
let file = null;
let picture = { duration_s: 0 };
let shown = null;
let current = new Set(); // the spans that hold at the player's time
let asking = null; // the AbortController of the request in progress
let askedAt_ms = 0;

async function start() {
  try {
    const found = await withToken(readModels);
    ({ limits } = found);
    settings.fill(found.models);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return complain(...explain(error), { "Try again": start });
  }
  const parts = [limits.size_bytes && size(limits.size_bytes), limits.duration_s && duration(limits.duration_s)].filter(Boolean);
  byId("limits").textContent = `${parts.length ? `Up to ${parts.join(" and ")}. ` : ""}The server deletes it after the answer.`;
  clearProblem();
}

// ---- a video and its answer ------------------------------------------------------------------------------

async function choose(chosen) {
  if (!chosen || !settings.areReady) return;
  forget();
  file = chosen;
  byId("drop").hidden = byId("known").hidden = true;
  byId("work").hidden = byId("other").hidden = false;
  byId("filename").textContent = `${file.name} (${size(file.size)})`;
  document.title = `${file.name} – videozoo`;
  const opened = await player.open(file);
  if (file !== chosen) return; // another one was chosen meanwhile
  picture = opened;
  if (player.isPlayable) byId("video").focus({ preventScroll: true });
  const reason = tooMuch(file, picture, limits);
  if (reason) complain(reason, "It was not sent.", { "Choose another video": pick });
  else await ask();
}

// Ends the request in progress, if there is one, and takes its answer away.
function forget() {
  const ended = asking;
  asking = null;
  ended?.abort();
  clearProblem();
  setState("");
  showAnswer(null);
}

// Sends the file with the settings, as often as needed, and shows its answer.
async function ask() {
  if (!file) return;
  byId("known").hidden = true;
  if (tooMuch(file, picture, limits)) return;
  forget();
  const query = settings.query(picture.duration_s);
  if (!query) return setState("Type what to look for, then press Search.");
  const controller = (asking = new AbortController());
  askedAt_ms = performance.now();
  showElapsed();
  const { searches } = settings.model;
  try {
    const answer = await withToken(() => askPatiently(query, controller.signal, searches ? "Searching …" : "Looking at the video …"));
    if (asking === controller) showAnswer(new Shown(answer, { searches }));
  } catch (error) {
    if (asking !== controller) return; // a later request took its place
    setState("");
    if (error.name === "AbortError") complain("Cancelled.", "", { "Send it again": ask });
    else if (error instanceof Refusal) complain(...explain(error), { "Try again": ask, "Choose another video": pick });
    else {
      complain("The answer could not be shown.", String(error), { "Try again": ask });
      throw error;
    }
  }
}

async function askPatiently(query, signal, working) {
  const onUpload = (share) => {
    if (share < 1) byId("progress").value = share;
    else setState(working, { share: null });
  };
  for (let tries = 1; ; tries += 1) {
    try {
      setState("Sending the video …", { share: 0 });
      return await predict(file, query, { onUpload, signal });
    } catch (error) {
      if (!(error instanceof Refusal && error.status === 429) || tries === MOST_TRIES) throw error;
      setState("The server is busy. Waiting for a free place …", { share: null });
      await pause(error.retryAfter_s, signal);
    }
  }
}

function pause(time_s, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * time_s);
    signal.addEventListener("abort", () => reject(signal.reason));
  });
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

// `share` is that of the upload, null for work that nobody can measure; without it nothing is in progress.
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

function complain(headline, advice, actions) {
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

// ---- the answer in time ----------------------------------------------------------------------------------

function showAnswer(answer) {
  shown = answer;
  current = new Set();
  byId("timeline").hidden = !shown;
  timeline.show(shown);
  panels.show(shown, file?.name);
  if (shown) setState(shown.summary);
  player.show(shown);
}

function onTime(player_s) {
  if (!shown) return;
  const time_s = Math.min(player_s, shown.duration_s - 1e-6); // the last stretch holds at the very end, too
  timeline.setTime(time_s);
  if (player.isPlayable && !player.video.paused) timeline.follow();
  panels.setTime(time_s);
  const now = new Set(shown.spansAt(time_s));
  for (const span of current) if (!now.has(span)) mark(span, false);
  for (const span of now) if (!current.has(span)) mark(span, true);
  current = now;
}

function mark(span, isCurrent) {
  timeline.mark(span, isCurrent);
  panels.mark(span, isCurrent);
}

// Moves the player and the timeline.
function seek(time_s) {
  player.seek(time_s);
  timeline.reveal(time_s);
}

function toNeighbor(direction) {
  const starts = shown?.spans.map((span) => span.start_s) ?? [];
  const now_s = player.time_s;
  const start_s = direction > 0 ? starts.find((each) => each > now_s + 0.01) : starts.findLast((each) => each < now_s - 0.3);
  if (start_s !== undefined) seek(start_s);
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
  if (event.key === " " && event.target.closest("button, a, summary")) return; // presses it
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault(); // the player has keys of its own
  event.stopPropagation();
  action();
}

function pick() {
  byId("file").click();
}

document.addEventListener("keydown", onKey, true);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  choose(event.dataTransfer.files[0]);
});
byId("file").addEventListener("change", (event) => {
  choose(event.target.files[0]);
  event.target.value = ""; // the same file may be chosen again
});
byId("other").addEventListener("click", pick);
byId("cancel").addEventListener("click", () => asking?.abort());
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
setInterval(showElapsed, 1000);

start();
