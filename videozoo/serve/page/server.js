// Talks to the server. Every failure is a Refusal; status 0 stands for a server that does not answer.

export class Refusal extends Error {
  constructor(status, message, retryAfter_s) {
    super(message);
    this.status = status;
    this.retryAfter_s = retryAfter_s;
  }

  get isPassing() {
    return [0, 429, 503].includes(this.status);
  }
}

const TOKEN = "videozoo-token";
let token = remembered();

function remembered() {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    return ""; // storage is switched off
  }
}

export function setToken(value) {
  token = value;
  try {
    sessionStorage.setItem(TOKEN, value);
  } catch {
    // it is kept in memory
  }
}

// {models, limits}
export function readModels() {
  return send("GET", "api/models");
}

// The answer for a file. `query` holds the parameters of the address; `onUpload` gets the share that has left.
export function predict(file, query, { onUpload, signal }) {
  const form = new FormData();
  form.append("file", file, file.name);
  return send("POST", `api/predict?${new URLSearchParams(query)}`, { body: form, onUpload, signal });
}

function send(method, address, { body = null, onUpload = () => {}, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not report the progress of uploads
    request.open(method, address);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.upload.addEventListener("progress", (event) => onUpload(event.total ? event.loaded / event.total : 0));
    request.upload.addEventListener("load", () => onUpload(1));
    request.addEventListener("error", () => reject(new Refusal(0, "")));
    request.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")));
    request.addEventListener("load", () => {
      if (request.status === 200) {
        const found = parsed(request.responseText);
        if (found !== null) resolve(found);
        else reject(new Refusal(200, "It sent an answer that is not JSON."));
      } else reject(refusalOf(request));
    });
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function refusalOf(request) {
  const message = parsed(request.responseText)?.error?.message;
  const retryAfter_s = Number(request.getResponseHeader("Retry-After")) || 2;
  return new Refusal(request.status, typeof message === "string" ? message : "", retryAfter_s);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
