// The page: a room from the address, its captions, and the microphone behind a button.

import { Captions, srt } from "/page/captions.js";
import { Speaker } from "/page/speaker.js";

const element = (id) => document.getElementById(id);
const room = decodeURIComponent(location.hash.slice(1)) || "main";
const captions = new Captions(room);
let speaker = null;

element("room").value = room;
document.title = `${room} – Live captions`;

element("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = element("room").value;
});
element("room").addEventListener("change", () => element("enter").requestSubmit());
addEventListener("hashchange", () => location.reload());

let watching = "connecting";
captions.addEventListener("state", ({ detail }) => {
  watching = detail;
  if (!speaker) show(detail);
});
captions.addEventListener("problem", ({ detail }) => report(detail));
captions.addEventListener("change", () => {
  element("download").disabled = !captions.finals.length;
  element("empty").hidden = Boolean(element("finals").children.length || element("interims").children.length);
});

element("start").addEventListener("click", toggle);
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, button");
  if (event.code === "Space" && !event.repeat && !isTyping) {
    event.preventDefault();
    toggle();
  }
});

async function toggle() {
  if (speaker) return speaker.stop();
  report("");
  speaker = new Speaker(room);
  speaker.addEventListener("state", ({ detail }) => detail === "stopped" ? end() : show(detail));
  speaker.addEventListener("problem", ({ detail }) => report(detail));
  speaker.addEventListener("level", ({ detail }) => element("level").value = Math.min(1, 3 * detail));
  speaker.addEventListener("delay", ({ detail }) => element("delay").value = `${Math.max(0, detail / 1000).toFixed(1)} s`);
  setButton(true);
  try {
    await speaker.start();
  } catch (error) {
    report(error.message);
    end();
  }
}

function end() {
  speaker = null;
  setButton(false);
  show(watching);
}

function setButton(isPressed) {
  element("start").setAttribute("aria-pressed", isPressed);
  element("start-text").textContent = isPressed ? "Stop" : "Start";
}

function show(state) {
  element("state").dataset.state = state;
  element("state").textContent = state;
}

function report(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
}

element("download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([srt(captions.finals)], { type: "application/x-subrip" }));
  link.download = `${room}.srt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
