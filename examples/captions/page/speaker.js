// The microphone and its connection. Audio without a final caption is kept, and sent again by the next connection when
// one is lost, so that no word is missing. Times are milliseconds from the first sample of the microphone.

import { Connection } from "/page/connection.js";

const RATE = 16000;
const KEPT_MS = 60_000;   // of audio, when a connection is lost for long
const END_MS = 10_000;    // the longest wait for the last caption

const PROBLEMS = {
  NotAllowedError: "The microphone is blocked. Allow it for this page, beside the address, and press Start again.",
  NotFoundError: "There is no microphone. Connect one and press Start again.",
  NotReadableError: "Another program uses the microphone. Close it and press Start again.",
};

export class Speaker extends EventTarget {
  #room;
  #key = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #stream = null;
  #context = null;
  #rate = RATE;
  #startedAt = 0;
  #connection = null;
  #kept = [];          // chunks without a final caption: {startMs, endMs, samples}
  #endMs = 0;
  #lostMs = 0;
  #isSpeaking = false;
  #hasEnded = false;

  constructor(room) {
    super();
    this.#room = room;
  }

  async start() {
    try {
      await this.#openMicrophone();
    } catch (error) {
      this.#closeMicrophone();
      throw new Error(PROBLEMS[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    this.#isSpeaking = true;
    this.#startedAt = performance.now();
    this.#notify("state", "connecting");
    this.#connection = new Connection(() => this.#url(), {
      onopen: (socket) => this.#sendKept(socket),
      onmessage: (message) => this.#receive(message),
      onlost: () => this.#notify("state", "reconnecting"),
    });
  }

  // --- the microphone

  async #openMicrophone() {
    if (!navigator.mediaDevices) throw new Error("browsers allow it on https pages and on this machine only");
    this.#stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    try {
      await this.#record(new AudioContext({ sampleRate: RATE }));
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      await this.#context.close();
      await this.#record(new AudioContext());   // at the rate of the device; the server resamples
    }
    for (const track of this.#stream.getTracks()) track.onended = () => this.stop();
  }

  async #record(context) {
    this.#context = context;
    this.#rate = context.sampleRate;
    await context.audioWorklet.addModule("/page/worklet.js");
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => this.#add(data);
    context.createMediaStreamSource(this.#stream).connect(recorder);
    await context.resume();
  }

  #closeMicrophone() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#context && this.#context.state !== "closed") this.#context.close();
  }

  #add({ samples, level }) {
    if (!this.#isSpeaking) return;
    const startMs = this.#endMs;
    this.#endMs += samples.byteLength / 2 / this.#rate * 1000;
    this.#kept.push({ startMs, endMs: this.#endMs, samples });
    this.#notify("level", level);
    this.#connection?.socket?.send(samples);
    while (this.#endMs - this.#kept[0].startMs > KEPT_MS) {
      const { startMs: from, endMs: to } = this.#kept.shift();
      if (!this.#connection?.socket) this.#lostMs += to - from;
    }
  }

  // --- the connection

  #url() {
    const startMs = Math.round(this.#kept[0]?.startMs ?? this.#endMs);
    return `/rooms/${encodeURIComponent(this.#room)}/speak?${new URLSearchParams({ key: this.#key, start_ms: startMs })}`;
  }

  #sendKept(socket) {
    socket.send(JSON.stringify({ type: "start", sample_rate: this.#rate, channels: 1 }));
    for (const chunk of this.#kept) socket.send(chunk.samples);
    if (!this.#isSpeaking) socket.send('{"type":"stop"}');
  }

  #receive(message) {
    if (message.type === "ready") {
      this.#notify("state", this.#isSpeaking ? "listening" : "finishing");
      this.#notify("problem", this.#lostMs ? `${(this.#lostMs / 1000).toFixed(0)} s of speech were lost` : "");
      this.#lostMs = 0;
    } else if (message.type === "end") {
      this.#end();
    } else if (message.type === "error") {
      this.#notify("problem", message.message);
      if (!message.retryable) this.#end();
    } else if (message.type === "result" && message.is_final) {
      this.#notify("delay", performance.now() - this.#startedAt - message.end_ms);
      this.#forget(message.end_ms);
    }
  }

  // Forget the audio that has a final caption, to the sample.
  #forget(endMs) {
    while (this.#kept.length && this.#kept[0].endMs <= endMs) this.#kept.shift();
    const first = this.#kept[0];
    if (!first || first.startMs >= endMs) return;
    const samples = Math.round((endMs - first.startMs) / 1000 * this.#rate);
    this.#kept[0] = { ...first, startMs: endMs, samples: first.samples.slice(2 * samples) };
  }

  // --- the end

  stop() {
    if (!this.#isSpeaking) return;
    this.#isSpeaking = false;
    this.#closeMicrophone();
    this.#notify("level", 0);
    this.#notify("state", "finishing");
    this.#connection?.socket?.send('{"type":"stop"}');
    setTimeout(() => this.#end(), END_MS);
  }

  #end() {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#isSpeaking = false;
    this.#closeMicrophone();
    this.#connection?.close();
    this.#notify("level", 0);
    this.#notify("state", "stopped");
  }

  #notify(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
