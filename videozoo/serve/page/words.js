// Numbers, times and errors in words.

export function clock(time_s, step_s = 1) {
  const digits = step_s < 0.1 ? 2 : step_s < 1 ? 1 : 0;
  const rounded = Number(time_s.toFixed(digits));
  const seconds = (rounded % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  const minutes = Math.floor(rounded / 60);
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

export function percent(score) {
  if (score > 0 && score < 0.005) return "< 1 %";
  return `${Math.round(score * 100)} %`;
}

export function size(size_bytes) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; size_bytes >= 1000 && unit < units.length - 1; unit += 1) size_bytes /= 1000;
  return `${Number(size_bytes.toFixed(size_bytes < 10 ? 1 : 0))} ${units[unit]}`;
}

export function duration(time_s) {
  if (time_s < 120) return `${Math.round(time_s)} s`;
  return time_s < 7200 ? `${Math.round(time_s / 60)} minutes` : `${Math.round(time_s / 3600)} hours`;
}

export function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

// Why a file is not sent at all, or null: `picture` is {duration_s, width_px, height_px} as far as the browser knows.
export function tooMuch(file, picture, limits) {
  if (file.size === 0) return "This file is empty.";
  if (limits.size_bytes && file.size > limits.size_bytes) {
    return `This file is too large: it has ${size(file.size)}, and this server takes up to ${size(limits.size_bytes)}.`;
  }
  if (limits.duration_s && picture.duration_s > limits.duration_s) {
    return `This video is too long: it lasts ${duration(picture.duration_s)}, and this server takes up to ${duration(limits.duration_s)}.`;
  }
  if (limits.pixels && picture.width_px * picture.height_px > limits.pixels) {
    return `This picture is too large: ${picture.width_px} × ${picture.height_px} pixels, and this server takes up to ${limits.pixels.toLocaleString("en")} in all.`;
  }
  return null;
}

const BY_STATUS = {
  0: ["The server does not answer.", "Check that it is still running, then try again."],
  401: ["The server did not accept the token.", ""],
  404: ["The server does not have this.", ""],
  413: ["This file is too large for the server.", ""],
  415: ["This file cannot be read as a video.", ""],
  422: ["The server cannot answer this.", ""],
  429: ["The server is busy.", ""],
  503: ["The server is not ready.", "Try again in a moment."],
  504: ["The answer took too long.", "Try a shorter video, or longer windows."],
};

// [what happened, what to do or the server's own words]
export function explain(refusal) {
  const [headline, advice] = BY_STATUS[refusal.status] ?? [`The server failed (${refusal.status}).`, "Its log has the reason."];
  return [headline, refusal.message || advice];
}
