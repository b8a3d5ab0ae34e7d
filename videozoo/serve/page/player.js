// The video of a file of this device, with boxes over the picture and the answers as a text track.
// A file that the browser cannot play has a clock all the same, so that its answers can be looked at in time.

import { svg } from "./dom.js";

const METADATA_S = 4; // the longest wait for what the browser knows about a file
const FIRST_FRAME_S = 1; // and for its first frame
const SEEK_SLACK_S = 0.001; // a rounded time must not lie in the frame before
const TEXT_SHARE = 1 / 22; // height of a box's text, of the picture's shorter side
const BOX_COLORS = ["#ffb000", "#4cc9f0", "#7ae582", "#ff7ab6", "#c8b6ff", "#ffd6a5"];

export class Player {
  #clock_s = 0; // the time of a file that cannot be played
  #start_s = 0; // the browser's time of the first frame, which is the video's start
  #url = null;
  #track = null;
  #shown = null;
  #drawn = null;

  constructor({ video, boxes, unplayable }, onTime) {
    this.video = video;
    this.boxes = boxes;
    this.unplayable = unplayable;
    this.onTime = onTime;
    for (const name of ["timeupdate", "seeking", "seeked", "pause"]) video.addEventListener(name, () => this.#tell());
    video.addEventListener("play", () => this.#follow());
  }

  get isPlayable() {
    return this.unplayable.hidden;
  }

  get time_s() {
    return this.isPlayable ? Math.max(this.video.currentTime - this.#start_s, 0) : this.#clock_s;
  }

  // Opens a file; gives {duration_s, width_px, height_px}, zeros for what the browser does not know.
  async open(file) {
    this.show(null);
    this.#close();
    this.#url = URL.createObjectURL(file);
    this.#setPlayable(true);
    const firstFrame_s = this.#firstFrame_s();
    const known = new Promise((resolve) => {
      this.video.onloadedmetadata = () => resolve(this.video.videoWidth > 0);
      this.video.onerror = () => resolve(false);
      setTimeout(resolve, METADATA_S * 1000, true);
    });
    this.video.src = this.#url;
    this.#setPlayable(await known);
    this.video.onerror = () => this.#setPlayable(false);
    this.#start_s = this.isPlayable ? await firstFrame_s : 0;
    if (this.isPlayable && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.toggle();
    const { duration, videoWidth, videoHeight } = this.video;
    return { duration_s: Number.isFinite(duration) ? duration - this.#start_s : 0, width_px: videoWidth, height_px: videoHeight };
  }

  #close() {
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#clock_s = this.#start_s = 0;
  }

  // The time of the next frame that is shown, 0 if the browser does not tell.
  #firstFrame_s() {
    return new Promise((resolve) => {
      this.video.requestVideoFrameCallback?.((_, { mediaTime }) => resolve(mediaTime));
      setTimeout(resolve, FIRST_FRAME_S * 1000, 0);
    });
  }

  seek(time_s) {
    const end_s = this.isPlayable ? this.video.duration - this.#start_s || 0 : (this.#shown?.duration_s ?? 0);
    const wanted_s = Math.min(Math.max(time_s, 0), end_s);
    if (this.isPlayable) this.video.currentTime = this.#start_s + (wanted_s && wanted_s + SEEK_SLACK_S);
    else {
      this.#clock_s = wanted_s;
      this.#tell();
    }
  }

  toggle() {
    if (!this.isPlayable) return;
    if (this.video.paused) this.video.play().catch(() => {}); // a browser may wait for a click on the player
    else this.video.pause();
  }

  // Shows an answer over the picture and as text; null takes it away.
  show(shown) {
    this.#shown = shown;
    this.#drawn = null;
    this.unplayable.textContent = `This browser cannot play this file.${shown ? " Its answers are shown all the same." : ""}`;
    this.boxes.replaceChildren();
    if (shown) this.boxes.setAttribute("viewBox", `0 0 ${shown.info.width_px || 1} ${shown.info.height_px || 1}`);
    this.#setCues(shown?.spans ?? [], shown?.areSentences);
    this.#tell();
  }

  #setPlayable(isPlayable) {
    this.unplayable.hidden = isPlayable;
    this.video.hidden = !isPlayable;
  }

  #setCues(spans, areSentences) {
    if (!spans.length && !this.#track) return;
    this.#track ??= this.video.addTextTrack("captions", "Answers");
    this.#track.mode = "hidden"; // cues of a disabled track cannot be reached
    for (const cue of [...this.#track.cues]) this.#track.removeCue(cue);
    for (const { start_s, end_s, label } of spans) {
      this.#track.addCue(new VTTCue(this.#start_s + start_s, this.#start_s + end_s, cueText(label)));
    }
    this.#track.mode = areSentences ? "showing" : "disabled"; // the player's own menu switches it on
  }

  #follow() {
    this.#tell();
    if (!this.video.paused && !this.video.ended) requestAnimationFrame(() => this.#follow());
  }

  #tell() {
    this.#drawBoxes();
    this.onTime(this.time_s);
  }

  #drawBoxes() {
    const marks = this.#shown?.marksAt(this.time_s) ?? [];
    if (marks === this.#drawn) return;
    this.#drawn = marks;
    const text_px = Math.min(this.#shown?.info.width_px ?? 0, this.#shown?.info.height_px ?? 0) * TEXT_SHARE;
    this.boxes.replaceChildren(...marks.map((box) => drawnBox(box, text_px)));
  }
}

function drawnBox(box, text_px) {
  const { left_px, top_px, right_px, bottom_px, text, color_key } = box;
  const color = BOX_COLORS[hash(color_key || text) % BOX_COLORS.length];
  const isRoomAbove = top_px > 1.4 * text_px;
  const y = isRoomAbove ? top_px - 0.4 * text_px : top_px + 1.1 * text_px;
  return svg("g", { color },
    svg("rect", { x: left_px, y: top_px, width: right_px - left_px, height: bottom_px - top_px }),
    svg("text", { x: left_px + 0.2 * text_px, y, "font-size": text_px, "stroke-width": text_px / 5 }, text));
}

function hash(text) {
  let sum = 0;
  for (const letter of text) sum = (31 * sum + letter.codePointAt(0)) % 65521;
  return sum;
}

// Cues are WebVTT, which has tags.
function cueText(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
