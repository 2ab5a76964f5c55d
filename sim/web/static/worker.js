"use strict";

/** Runs the chip in slices, and tells the page what is to be seen. */
class Runner {
  static SLICE_MS = 12;
  static LEAST_MS = 60;

  constructor(chip, config) {
    this.chip = chip;
    this.config = config;
    this.story = new Story(config);
    this.receive = (cycle, words, at) => this.story.receive(cycle, words, at);
    this.cyclesPerSecond = 0; // the pace; 0 is a pause
    this.isWaiting = false; // for its next slice
    this.slice = 2000;
    this.due = 0;
    this.restart = 0;
    this.window = 128;
    this.isDrawn = true;
    this.toldAt = 0;
    this.measured = { cycles: 0, tokens: 0, at: performance.now(), cycle: 0, token: 0 };
    this.channel = new MessageChannel();
    this.channel.port1.onmessage = () => this.run();
  }

  /** Take settings; `asked` tells what is of them from what was before. */
  set({ asked, prompt, seed, scale }) {
    const { chip, story } = this;
    this.asked = asked;
    prompt.forEach((token, i) => chip.poke(`prompt__${i}`, token));
    chip.poke("length", prompt.length);
    chip.poke("seed", seed);
    chip.poke("temperature", scale);
    // Until the seed of the settings before is taken, the chip waits for these anyway.
    if (story.isSeeded) this.restart ^= 1;
    chip.poke("restart", this.restart);
    story.isSeeded = false;
  }

  pace(cyclesPerSecond) {
    this.cyclesPerSecond = cyclesPerSecond;
    this.due = 0;
    this.lastRun = performance.now();
    // What was measured last stays to be read in a pause.
    if (cyclesPerSecond) this.measured = { cycles: 0, tokens: 0 };
    this.meter(this.lastRun);
    this.again();
    this.tell();
  }

  step(unit) {
    if (unit === "token") this.chip.advance(1_000_000, "sampled", this.receive);
    else this.chip.advance(1, null, this.receive);
    this.tell();
  }

  reset() {
    this.chip.reset();
    this.chip.record(this.chip.recorded);
    this.story.restart();
    this.meter(performance.now());
    this.tell();
  }

  /** Have another slice made; other messages have their turn before it. */
  again() {
    if (this.isWaiting || !this.cyclesPerSecond) return;
    this.isWaiting = true;
    if (this.cyclesPerSecond === Infinity) this.channel.port2.postMessage(null);
    else setTimeout(() => this.run(), 16);
  }

  run() {
    this.isWaiting = false;
    if (!this.cyclesPerSecond) return;
    const begun = performance.now();
    if (this.cyclesPerSecond === Infinity) {
      this.chip.advance(this.slice, null, this.receive);
      const took = Math.max(0.1, performance.now() - begun);
      this.slice = Math.min(
        1e6, Math.max(500, Math.round(this.slice * Math.min(2, Runner.SLICE_MS / took))));
    } else {
      this.due += Math.min(0.1, (begun - this.lastRun) / 1000) * this.cyclesPerSecond;
      const whole = Math.floor(this.due);
      if (whole) this.chip.advance(whole, null, this.receive);
      this.due -= whole;
    }
    this.lastRun = begun;
    if (begun - this.measured.at > 1000) this.measure(begun);
    if (this.isDrawn && begun - this.toldAt > Runner.LEAST_MS) this.tell();
    this.again();
  }

  measure(now) {
    const seconds = (now - this.measured.at) / 1000;
    const { cycle, token } = this.measured;
    this.meter(now);
    // A seed that was taken meanwhile counts tokens anew.
    if (this.measured.cycle > cycle && this.measured.token >= token) {
      this.measured.cycles = (this.measured.cycle - cycle) / seconds;
      this.measured.tokens = (this.measured.token - token) / seconds;
    }
  }

  meter(at) {
    Object.assign(this.measured, { at, cycle: this.chip.cycle, token: this.story.tokens });
  }

  /** The document whose attention is shown: the last whole one, or the one that can be followed. */
  attended() {
    const { document, finished } = this.story;
    const isFollowed = this.cyclesPerSecond < 1e5 && document?.tokens.length > document?.known + 1;
    return isFollowed ? document : finished ?? document;
  }

  tell() {
    const { chip, story } = this;
    this.isDrawn = false;
    this.toldAt = performance.now();
    postMessage({
      cycle: chip.cycle,
      asked: story.isSeeded ? this.asked : null,
      begunAt: story.begunAt,
      lastTokenAt: story.lastTokenAt,
      tokens: story.tokens,
      tokenCycles: story.tokenCycles,
      names: story.names,
      first: story.first,
      newest: story.newest,
      writing: story.document,
      attended: this.attended(),
      rows: story.rows,
      rowTokens: story.rowTokens,
      cache: story.cache,
      panel: { isShown: story.panel.isShown, codes: story.panel.codes() },
      speed: this.measured,
      wave: { names: chip.recorded, values: chip.trace(this.window) },
    });
  }
}

let runner = null;

onmessage = async ({ data: [kind, ...values] }) => {
  switch (kind) {
    case "start": {
      const [bytes, config, signals] = values;
      const masks = { sampled: 1 << config.layout.seen.sampled[0] };
      const chip = await Chip.load(bytes, ["seen", "scores", "written"], masks);
      runner = new Runner(chip, config);
      chip.record(signals);
      postMessage({ signals: chip.names() });
      break;
    }
    case "drawn":
      runner.isDrawn = true;
      break;
    case "record":
      runner.chip.record(values[0]);
      runner.tell();
      break;
    case "window":
      runner.window = values[0];
      runner.tell();
      break;
    default:
      runner[kind](...values);
  }
};
