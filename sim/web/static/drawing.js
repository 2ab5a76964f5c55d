"use strict";

/** Fit a canvas to its place on the page; what is drawn is in CSS pixels. */
function prepare(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (height !== undefined) canvas.style.height = `${height}px`;
  const tall = height ?? canvas.clientHeight;
  const [w, h] = [Math.round(width * ratio), Math.round(tall * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, tall);
  return { context, width, height: tall };
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`);
}

const MONO = "ui-monospace, Menlo, Consolas, monospace";

/** The dots of the character module; what is not shown yet is faint. */
function drawPanel(canvas, { isShown, codes }, glyphs) {
  const { context, width, height } = prepare(canvas);
  context.fillStyle = "#9fc131";
  context.fillRect(0, 0, width, height);
  const columns = 16 * 6 + 5;
  const rows = 2 * 9 + 5;
  const dot = Math.min(width / columns, height / rows);
  const left = (width - dot * (16 * 6 - 1)) / 2;
  const top = (height - dot * (2 * 9 - 1)) / 2;
  const off = "#94b52b";
  const on = isShown ? "#1b2a17" : "#7f9d27";
  codes.forEach((code, place) => {
    const glyph = glyphs[panelCharacter(code)] ?? Array(5).fill(isShown ? 255 : 0);
    const x = left + (place % 16) * 6 * dot;
    const y = top + Math.floor(place / 16) * 9 * dot;
    for (let column = 0; column < 5; column++)
      for (let row = 0; row < 8; row++) {
        context.fillStyle = (glyph[column] >> row) & 1 ? on : off;
        context.fillRect(x + column * dot, y + row * dot, dot * 0.88, dot * 0.88);
      }
  });
}

/** For so long a row of the cache is lit: about a token. */
const LIGHT_CYCLES = 330;

/** Keys and values by row; rows that are written or attended light up. */
function drawCache(canvas, config, state, characters) {
  const { layers, context: rows, width: elements } = config;
  const isNarrow = canvas.clientWidth < 560;
  const label = 30;
  const gap = 14;
  const high = isNarrow ? 12 : 15;
  const block = rows * high + 24;
  const { context, width } = prepare(canvas, layers * block);
  const colour = colours();
  const half = (width - label - gap) / 2;
  const cell = half / elements;
  context.textBaseline = "middle";
  for (let layer = 0; layer < layers; layer++) {
    const top = layer * block + 20;
    context.font = `12px system-ui, sans-serif`;
    context.fillStyle = colour("soft");
    const of = layers > 1 ? ` of layer ${layer}` : "";
    context.fillText(`keys${of}`, label, top - 10);
    context.fillText(`values${of}`, label + half + gap, top - 10);
    for (let row = 0; row < rows; row++) {
      const place = layer * rows + row;
      const y = top + row * high;
      const isUsed = row < state.rows;
      const light = (time) => {
        const age = (state.cycle - time) / LIGHT_CYCLES;
        return isUsed && age < 1 ? 1 - 0.6 * age : 0;
      };
      const lights = [
        ["attended", light(state.cache.attended[place])],
        ["written", light(state.cache.written[place])],
      ];
      context.font = `${isUsed ? 600 : 400} 12px ${MONO}`;
      context.fillStyle = colour(isUsed ? "ink" : "edge");
      context.fillText(characters[row], 4, y + high / 2);
      [state.cache.keys, state.cache.values].forEach((memory, which) => {
        const x = label + which * (half + gap);
        context.globalAlpha = 1;
        context.fillStyle = colour("grid");
        context.fillRect(x, y + 1, half, high - 2);
        context.fillStyle = colour(which ? "value" : "key");
        for (let element = 0; element < elements; element++) {
          const value = Math.abs(memory[place * elements + element]) / 127;
          context.globalAlpha = (isUsed ? 1 : 0.25) * Math.sqrt(value);
          context.fillRect(x + element * cell, y + 1, Math.max(1, cell - 1), high - 2);
        }
        for (const [name, strength] of lights) {
          context.globalAlpha = strength;
          context.strokeStyle = context.fillStyle = colour(name);
          context.lineWidth = 1.5;
          context.strokeRect(x - 1, y + 1, half + 2, high - 2);
          if (!which) context.fillRect(17, y + 1, 7, high - 2);
        }
        context.globalAlpha = 1;
      });
    }
  }
}

/** One head's weights: a line for each token, a column for each it attends. */
function drawAttention(canvas, labels, weights) {
  const { context, width } = prepare(canvas);
  const colour = colours();
  const size = labels.length;
  const cell = width / (size + 1);
  context.font = `${Math.min(14, cell * 0.8)}px ${MONO}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = colour("soft");
  labels.forEach((label, i) => {
    context.fillText(label, (i + 1.5) * cell, cell / 2);
    context.fillText(label, cell / 2, (i + 1.5) * cell);
  });
  weights.forEach((row, token) => {
    row.slice(0, token + 1).forEach((weight, seen) => {
      const [x, y] = [(seen + 1) * cell, (token + 1) * cell];
      context.fillStyle = colour("grid");
      context.fillRect(x, y, cell - 1, cell - 1);
      context.globalAlpha = weight ** 0.7;
      context.fillStyle = colour("attended");
      context.fillRect(x, y, cell - 1, cell - 1);
      context.globalAlpha = 1;
    });
  });
}

/** Chosen signals over the last cycles. */
function drawWave(canvas, signals, lastCycle, cycles) {
  const lane = 28;
  const { context, width, height } = prepare(canvas, 22 + lane * signals.length);
  const colour = colours();
  const label = Math.min(170, width * 0.34);
  const step = (width - label) / cycles;
  context.textBaseline = "middle";
  context.font = `11px ${MONO}`;
  context.fillStyle = colour("soft");
  context.textAlign = "right";
  context.fillText(`cycle ${Math.max(0, lastCycle - 1).toLocaleString("en")}`, width, 9);
  context.textAlign = "left";
  context.fillText(Math.max(0, lastCycle - cycles).toLocaleString("en"), label, 9);
  signals.forEach(({ title, isBus, values, format }, number) => {
    const top = 22 + number * lane;
    const [high, low] = [top + 5, top + lane - 6];
    context.fillStyle = colour("ink");
    context.fillText(title, 0, (high + low) / 2, label - 8);
    context.fillStyle = colour("line");
    context.fillRect(label, top + lane - 1, width - label, 1);
    // What is not known yet is left out: the newest cycle is always at the right.
    const begin = width - values.length * step;
    context.strokeStyle = context.fillStyle = colour(isBus ? "value" : "accent");
    context.lineWidth = 1.5;
    context.beginPath();
    for (let from = 0, to; from < values.length; from = to) {
      for (to = from + 1; to < values.length && values[to] === values[from];) to++;
      const [left, right] = [begin + from * step, begin + to * step];
      if (isBus) {
        context.strokeRect(left, high, right - left, low - high);
        const text = format(values[from]);
        if (right - left > context.measureText(text).width + 6)
          context.fillText(text, left + 4, (high + low) / 2);
      } else {
        const y = values[from] ? high : low;
        if (from) context.lineTo(left, y);
        else context.moveTo(left, y);
        context.lineTo(right, y);
      }
    }
    context.stroke();
  });
  return height;
}
