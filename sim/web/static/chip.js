"use strict";

/** The simulated chip: a WebAssembly module, reached by the names of its signals. */
class Chip {
  // As driver.cc has them, in words of 32 bits.
  static EVENT_WORDS = 16;
  static TRACE = 1024;
  static TRACE_WORDS = 128;

  /** `masks` has the bit of the first column in which a signal shows that can end a call. */
  constructor(exports, columns, masks) {
    this.masks = masks;
    this.exports = exports;
    exports._initialize();
    this.simulation = exports.gptloom_open();
    this.handles = new Map();
    this.inputs = new Map();
    this.recorded = [];
    this.cycle = 0;
    const handles = columns.map((name) => this.find(name).handle);
    this.words().set(handles, exports.gptloom_handles() >> 2);
    exports.gptloom_watch(this.simulation, this.find("event").handle, columns.length);
  }

  static async load(bytes, columns, masks) {
    const module = await WebAssembly.compile(bytes);
    const imports = {};
    // What a C++ library asks of a system, of which there is none.
    for (const { module: from, name } of WebAssembly.Module.imports(module))
      (imports[from] ??= {})[name] = () => 0;
    const { exports } = await WebAssembly.instantiate(module, imports);
    return new Chip(exports, columns, masks);
  }

  // Memory may have grown, which leaves older views empty.
  words() {
    return new Uint32Array(this.exports.memory.buffer);
  }

  bytes() {
    return new Uint8Array(this.exports.memory.buffer);
  }

  find(name) {
    if (!this.handles.has(name)) {
      const { exports } = this;
      const text = exports.gptloom_text();
      this.bytes().set(new TextEncoder().encode(`${name}\0`), text);
      // The width comes back behind the name, where a word begins.
      const width = (text + 1024) & ~3;
      const handle = exports.gptloom_find(this.simulation, text, width);
      if (handle < 0) throw new Error(`the chip has no signal ${name}`);
      this.handles.set(name, { handle, width: this.words()[width >> 2] });
    }
    return this.handles.get(name);
  }

  /** All signals of up to 32 bits, memories left out. */
  names() {
    const { exports } = this;
    const names = [];
    for (let number = 0, at; (at = exports.gptloom_name(this.simulation, number)); number++) {
      const bytes = this.bytes();
      const name = new TextDecoder().decode(bytes.subarray(at, bytes.indexOf(0, at)));
      try {
        if (this.find(name).width <= 32) names.push(name);
      } catch {
        // A memory.
      }
    }
    return names;
  }

  poke(name, value) {
    this.inputs.set(name, value);
    const { exports } = this;
    const at = exports.gptloom_text();
    this.words()[at >> 2] = value;
    exports.gptloom_poke(this.simulation, this.find(name).handle, at);
  }

  /** Power off and on. */
  reset() {
    this.exports.gptloom_reset(this.simulation);
    this.exports.gptloom_count(0);
    this.cycle = 0;
    for (const [name, value] of this.inputs) this.poke(name, value);
  }

  /** Choose what the waveform holds. */
  record(names) {
    this.recorded = names;
    const handles = names.map((name) => this.find(name).handle);
    this.words().set(handles, this.exports.gptloom_handles() >> 2);
    this.exports.gptloom_record(
      this.simulation, this.exports.gptloom_handles(), handles.length);
    this.since = this.cycle;
  }

  /** Make clock edges, perhaps only to the end of a cycle in which a signal is high.
   *
   * `receive` is called with each event's cycle, and where its words are: from two words on there
   * are the columns, two words each. Returns whether the signal was high.
   */
  advance(cycles, signal, receive) {
    const { exports } = this;
    const until = signal ? this.find(signal).handle : -1;
    for (let left = cycles; left > 0;) {
      const asked = left;
      const made = exports.gptloom_advance(this.simulation, asked, until);
      left -= made;
      this.cycle += made;
      const count = exports.gptloom_event_count();
      const words = this.words();
      const first = exports.gptloom_events() >> 2;
      for (let row = 0; row < count; row++) {
        const at = first + row * Chip.EVENT_WORDS;
        receive(words[at] + words[at + 1] * 2 ** 32, words, at + 2);
      }
      // An event is the last of its call for one of two reasons.
      if (signal && count) {
        const seen = words[first + (count - 1) * Chip.EVENT_WORDS + 2];
        if (made < asked && seen & this.masks[signal]) return true;
      }
    }
    return false;
  }

  /** The last cycles of the recorded signals, an array for each. */
  trace(cycles) {
    const length = Math.min(cycles, Chip.TRACE, this.cycle - this.since);
    const words = this.words();
    const first = this.exports.gptloom_trace() >> 2;
    return this.recorded.map((_, column) =>
      Uint32Array.from({ length }, (_, i) => {
        const row = (this.cycle - length + i) % Chip.TRACE;
        return words[first + row * Chip.TRACE_WORDS + 2 * column];
      }));
  }
}

/** Bits of a number of two words of 32. */
function field(low, high, offset, width) {
  const mask = width === 32 ? 0xffffffff : (1 << width) - 1;
  if (offset >= 32) return (high >>> (offset - 32)) & mask;
  const bits = low >>> offset;
  const above = offset + width > 32 ? high << (32 - offset) : 0;
  return (bits | above) & mask;
}
