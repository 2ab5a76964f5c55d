"use strict";

/** Has the chip write a text in slices, and tells the page what it has written. */
class Writer {
  static SLICE_MS = 12;
  static LEAST_MS = 60;

  constructor(chip, config) {
    this.chip = chip;
    this.config = config;
    this.slice = 2000;
    this.isRunning = this.isWaiting = false;
    this.receive = (cycle, words, at) => this.take(cycle, words[at]);
    this.channel = new MessageChannel();
    this.channel.port1.onmessage = () => this.run();
  }

  /** Power off and on, and begin a document with known tokens. */
  ask({ known, seed, scale }) {
    const { chip } = this;
    chip.reset();
    this.known = known;
    this.fed = 0;
    this.isSeeded = this.isEnded = false;
    this.tokens = [];
    this.lastTokenAt = null;
    this.cycles = this.promptCycles = 0;
    chip.poke("temperature", scale);
    chip.poke("seed__payload", seed);
    chip.poke("seed__valid", 1);
    this.offer();
    this.pace(true);
  }

  pace(isRunning) {
    this.isRunning = isRunning;
    this.measured = { cycle: this.chip.cycle, tokens: this.tokens.length, at: performance.now() };
    this.tell();
    this.again();
  }

  /** Offer the next known token, if there is one. */
  offer() {
    const isLeft = this.fed < this.known.length;
    const last = this.fed === this.known.length - 1;
    if (isLeft)
      this.chip.poke("i__payload", this.known[this.fed] | (last << this.config.tokenBits));
    this.chip.poke("i__valid", Number(isLeft));
  }

  take(cycle, told) {
    const { bits } = this.config;
    if (told & (1 << bits.seeded)) this.isSeeded = true;
    if (told & (1 << bits.taken)) {
      this.begunAt ??= cycle;
      if (!this.fed) this.begunAt = cycle;
      this.fed++;
      this.promptCycles = cycle - this.begunAt;
      this.lastTokenAt = cycle;
    }
    if (told & (1 << bits.sampled)) {
      this.tokens.push(told >>> bits.token);
      this.cycles += cycle - this.lastTokenAt;
      this.lastTokenAt = cycle;
      this.isEnded = Boolean(told & (1 << bits.last));
    }
  }

  again() {
    if (this.isWaiting || !this.isRunning) return;
    this.isWaiting = true;
    this.channel.port2.postMessage(null);
  }

  run() {
    this.isWaiting = false;
    if (!this.isRunning) return;
    const begun = performance.now();
    const waits = !this.isSeeded ? "seeded" : this.fed < this.known.length ? "taken" : null;
    // Signals that are waited for are taken back in the cycle after.
    this.chip.advance(this.slice, waits ?? "sampled", this.receive);
    if (this.isSeeded) this.chip.poke("seed__valid", 0);
    this.offer();
    const now = performance.now();
    const room = Writer.SLICE_MS / Math.max(0.1, now - begun);
    if (!waits) this.slice = Math.min(1e6, Math.max(500, Math.round(this.slice * Math.min(2, room))));
    if (this.isEnded) this.isRunning = false;
    if (this.isEnded || now - (this.toldAt ?? 0) > Writer.LEAST_MS) this.tell();
    this.again();
  }

  tell() {
    const now = performance.now();
    this.toldAt = now;
    const { cycle, tokens, at } = this.measured;
    const seconds = Math.max(0.001, (now - at) / 1000);
    postMessage({
      cycle: this.chip.cycle,
      known: this.known,
      tokens: this.tokens,
      isEnded: this.isEnded,
      isRunning: this.isRunning,
      cyclesPerToken: this.tokens.length ? this.cycles / this.tokens.length : 0,
      cyclesPerPromptToken: this.fed > 1 ? this.promptCycles / (this.fed - 1) : 0,
      here: { cycles: (this.chip.cycle - cycle) / seconds, tokens: (this.tokens.length - tokens) / seconds },
    });
  }
}

let writer = null;

onmessage = async ({ data: [kind, ...values] }) => {
  if (kind !== "start") {
    writer[kind](...values);
    return;
  }
  const [bytes, config] = values;
  const { bits } = config;
  const masks = {};
  for (const name of ["seeded", "taken", "sampled"]) masks[name] = 1 << bits[name];
  writer = new Writer(await Chip.load(bytes, ["told"], masks), config);
  postMessage({ isLoaded: true });
};
