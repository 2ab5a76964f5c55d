"use strict";

// --- Waveform ---

const formats = {
  number: (value) => String(value),
  token: (value) => letter(value) ?? String(value),
  operation: (value) => config.operations[value]?.site ?? String(value),
  signed: (value, bits) => String(value & (2 ** (bits - 1)) ? value - 2 ** bits : value),
};

function describe(name) {
  return config.signals.find((signal) => signal.name === name) ?? { name, title: name, bits: 32 };
}

function showWave({ wave, cycle }) {
  const cycles = Number($("window").value);
  const signals = wave.names.map((name, i) => {
    const { title, bits, format = "number" } = describe(name);
    const isBus = bits > 1;
    return { title, isBus, values: wave.values[i], format: (value) => formats[format](value, bits) };
  });
  drawWave($("wave"), signals, cycle, cycles);
  for (const label of $("signals").querySelectorAll("label")) {
    const i = wave.names.indexOf(label.firstElementChild.value);
    const last = i < 0 ? undefined : signals[i].values.at(-1);
    label.lastElementChild.textContent = last === undefined ? "" : signals[i].format(last);
  }
}

function addSignal(name, isOn) {
  const label = document.createElement("label");
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: isOn });
  const output = Object.assign(document.createElement("output"), { id: `value of ${name}` });
  box.value = name;
  label.title = name;
  label.append(box, describe(name).title, output);
  box.addEventListener("change", record);
  $("signals").append(label);
}

function chosen() {
  return Array.from($("signals").querySelectorAll("input:checked"), (box) => box.value);
}

function record() {
  forget();
  send("record", chosen());
}

$("window").addEventListener("change", () => {
  forget();
  send("window", Number($("window").value));
});
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("signal").value.trim();
  const isKnown = page.signals.includes(name);
  const isThere = Array.from($("signals").querySelectorAll("input")).some((box) => box.value === name);
  const problem = isKnown ? (isThere ? `“${name}” is in the list already.` : "")
    : `The chip has no signal “${name}”: choose one that the field offers.`;
  if (!check("signal", problem)) return;
  addSignal(name, true);
  $("signal").value = "";
  record();
});
window.addEventListener("resize", () => {
  forget();
  redraw();
});
