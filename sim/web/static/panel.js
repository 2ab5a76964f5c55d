"use strict";

/** A character module of two lines of 16 with an HD44780, read from its pins.
 *
 * The same decoding as `sim/panels/hd44780.py`, which also checks the times: instructions of four
 * data lines, each nibble taken where E falls.
 */
class CharacterPanel {
  constructor() {
    // Nothing is known of a memory after power-on.
    this.memory = new Uint8Array(128).fill(0xff);
    this.address = 0;
    this.inMemory = true;
    this.upwards = true;
    this.movesDisplay = false;
    this.shift = 0;
    this.on = false;
    this.twoLines = false;
    this.fourBits = false;
    this.upper = null;
    this.before = { rs: 0, e: 0, d: 0 };
  }

  /** Take the levels of the pins in a cycle in which one of them may have changed. */
  feed(rs, e, d) {
    const { before } = this;
    if (before.e && !e) this.receive(before.rs, before.d);
    before.rs = rs;
    before.e = e;
    before.d = d;
  }

  /** The 32 character codes that stand in front of the glass. */
  codes() {
    return [0x00, 0x40].flatMap((line) =>
      Array.from({ length: 16 }, (_, i) => this.memory[line + ((this.shift + i) % 40)]));
  }

  get isShown() {
    return this.on && this.twoLines;
  }

  receive(rs, nibble) {
    if (!this.fourBits) {
      this.execute(rs, nibble << 4);
    } else if (this.upper === null) {
      this.upper = nibble;
    } else {
      const byte = (this.upper << 4) | nibble;
      this.upper = null;
      this.execute(rs, byte);
    }
  }

  execute(rs, byte) {
    if (rs) {
      if (this.inMemory) this.memory[this.address] = byte;
      this.step(this.upwards ? 1 : -1);
      if (this.inMemory && this.movesDisplay) this.move(this.upwards ? 1 : -1);
    } else if (byte & 0x80) {
      this.address = byte & 0x7f;
      this.inMemory = true;
    } else if (byte & 0x40) {
      this.address = byte & 0x3f;
      this.inMemory = false;
    } else if (byte & 0x20) {
      this.fourBits = !(byte & 0x10);
      this.twoLines = Boolean(byte & 0x08);
    } else if (byte & 0x10) {
      const step = byte & 0x04 ? 1 : -1;
      if (byte & 0x08) this.move(-step);
      else this.step(step);
    } else if (byte & 0x08) {
      this.on = Boolean(byte & 0x04);
    } else if (byte & 0x04) {
      this.upwards = Boolean(byte & 0x02);
      this.movesDisplay = Boolean(byte & 0x01);
    } else if (byte & 0x03) {
      this.address = 0;
      this.inMemory = true;
      this.shift = 0;
      if (byte === 0x01) {
        this.memory.fill(0x20);
        this.upwards = true;
      }
    }
  }

  move(step) {
    this.shift = (this.shift + step + 40) % 40;
  }

  step(step) {
    if (!this.inMemory) {
      this.address = (this.address + step + 64) % 64;
      return;
    }
    // The two lines follow each other, in a circle.
    const line = this.address >> 6;
    const place = (line * 40 + Math.min(this.address & 0x3f, 39) + step + 80) % 80;
    this.address = (place >= 40 ? 0x40 : 0) + (place % 40);
  }
}

/** What the usual character ROM shows for a code. */
function panelCharacter(code) {
  const others = { 0x5c: "¥", 0x7e: "→", 0x7f: "←" };
  return others[code] ?? (code >= 0x20 && code < 0x80 ? String.fromCharCode(code) : "\ufffd");
}
