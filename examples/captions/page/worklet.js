// The audio thread: channels become one, and samples become chunks of 100 ms of 16-bit integers, with their level.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(Math.round(sampleRate / 10));
    this.filled = 0;
    this.squares = 0;
  }

  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sample = 0;
      for (const channel of channels) sample += channel[i] / channels.length;
      this.squares += sample * sample;
      this.chunk[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.filled === this.chunk.length) this.post();
    }
    return true;
  }

  post() {
    const level = Math.sqrt(this.squares / this.filled);
    const samples = this.chunk.slice().buffer;
    this.port.postMessage({ samples, level }, [samples]);
    this.filled = this.squares = 0;
  }
}

registerProcessor("recorder", Recorder);
