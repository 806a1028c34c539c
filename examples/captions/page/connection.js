// A WebSocket that comes back: after a loss, and when the server has not been heard for a while although the connection
// is open. The server sends a tick at regular times, and says when the next one is due.

const LONGEST_DELAY_MS = 5_000;
const MISSED_TICKS = 2.5;

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #attempts = 0;
  #watchdog = 0;
  #isClosed = false;

  // The URL is a function: it may be another one each time. `onopen(socket)` may send; `onlost()` is a loss.
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    this.#connect();
  }

  // The socket if it is open, else null.
  get socket() {
    return this.#socket?.readyState === WebSocket.OPEN ? this.#socket : null;
  }

  #connect() {
    const socket = new WebSocket(new URL(this.#url(), location.origin.replace(/^http/, "ws")));
    this.#socket = socket;
    socket.onopen = () => this.#handlers.onopen(socket);
    socket.onclose = () => this.#lose();
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "tick") return this.#watch(message.every_ms);
      if (message.type !== "error") this.#attempts = 0;
      this.#handlers.onmessage(message);
    };
  }

  #watch(everyMs) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lose(), MISSED_TICKS * everyMs);
  }

  #lose() {
    this.#drop();
    if (this.#isClosed) return;
    this.#handlers.onlost();
    const delay = Math.min(LONGEST_DELAY_MS, 250 * 2 ** this.#attempts++) * (0.5 + Math.random() / 2);
    setTimeout(() => this.#isClosed || this.#connect(), delay);
  }

  #drop() {
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onclose = socket.onmessage = null;
    socket.close();
  }

  close() {
    this.#isClosed = true;
    this.#drop();
  }
}
