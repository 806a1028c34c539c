// The captions of a room: those that a server keeps, and all that this page has seen.

import { Connection } from "/page/connection.js";

export class Captions extends EventTarget {
  #captions = new Map();
  #elements = new Map();
  #finals = document.getElementById("finals");
  #interims = document.getElementById("interims");
  #scroll = document.getElementById("scroll");

  constructor(room) {
    super();
    new Connection(() => `/rooms/${encodeURIComponent(room)}/watch`, {
      onopen: () => this.#begin(),
      onmessage: (message) => this.#receive(message),
      onlost: () => this.#notify("state", "reconnecting"),
    });
  }

  get finals() {
    return [...this.#captions.values()].filter((caption) => caption.is_final).sort((a, b) => a.start - b.start);
  }

  // What is not final comes again, or has become final meanwhile.
  #begin() {
    for (const caption of [...this.#captions.values()]) if (!caption.is_final) this.#remove(caption.id);
    this.#notify("state", "connected");
  }

  #receive(message) {
    const isAtEnd = this.#scroll.scrollHeight - this.#scroll.scrollTop - this.#scroll.clientHeight < 80;
    if (message.type === "caption") this.#show(message);
    if (message.type === "withdrawn") this.#remove(message.id);
    if (message.type === "notice") this.#finals.append(Object.assign(document.createElement("li"), {
      className: "notice", textContent: message.text,
    }));
    if (message.type === "error") this.#notify("problem", message.message);
    if (isAtEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#notify("change");
  }

  #show(caption) {
    const wasFinal = this.#captions.get(caption.id)?.is_final;
    this.#captions.set(caption.id, caption);
    let element = this.#elements.get(caption.id);
    if (!element || wasFinal !== caption.is_final) {
      element?.remove();
      element = this.#make(caption);
      this.#elements.set(caption.id, element);
      if (caption.is_final) this.#insert(element, caption);
      else this.#interims.append(element);
    }
    element.querySelector(".text").textContent = caption.text;
    const translation = element.querySelector(".translation");
    translation.textContent = caption.translation;
    translation.hidden = !caption.translation;
  }

  #make(caption) {
    const element = document.createElement(caption.is_final ? "li" : "div");
    element.className = "caption new";
    element.dataset.start = caption.start;
    const time = document.createElement("time");
    time.dateTime = new Date(caption.start).toISOString();
    time.textContent = new Date(caption.start).toLocaleTimeString();
    element.append(time, document.createElement("p"), document.createElement("p"));
    element.children[1].className = "text";
    element.children[2].className = "translation";
    return element;
  }

  // Behind the captions that began before: several may speak.
  #insert(element, caption) {
    const next = [...this.#finals.querySelectorAll(".caption")].reverse()
      .find((other) => Number(other.dataset.start) <= caption.start);
    if (next) next.after(element);
    else this.#finals.prepend(element);
  }

  #remove(id) {
    this.#captions.delete(id);
    this.#elements.get(id)?.remove();
    this.#elements.delete(id);
  }

  #notify(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// The finals as SubRip, with times from the first one on.
export function srt(finals) {
  const begin = finals[0]?.start ?? 0;
  return finals.map((caption, index) => {
    const lines = [...broken(caption.text), ...(caption.translation ? broken(caption.translation) : [])];
    const end = Math.max(caption.end, caption.start + 1000);
    return `${index + 1}\n${stamp(caption.start - begin)} --> ${stamp(end - begin)}\n${lines.join("\n")}\n`;
  }).join("\n");
}

function stamp(ms) {
  return new Date(ms).toISOString().slice(11, 23).replace(".", ",");
}

// A text in lines of similar length, none much longer than 42 characters.
function broken(text) {
  const words = text.replaceAll("-->", "→").split(/\s+/);
  const most = Math.max(12, Math.ceil(text.length / Math.ceil(text.length / 42)) + 4);
  const lines = [""];
  for (const word of words) {
    const line = `${lines.at(-1)} ${word}`.trim();
    if (line.length > most && lines.at(-1)) lines.push(word);
    else lines[lines.length - 1] = line;
  }
  return lines;
}
