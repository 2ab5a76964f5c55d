"use strict";

// --- Start ---

function fail(message) {
  $("failure").hidden = false;
  $("failure").textContent = `The chip does not run: ${message}`;
}

async function start() {
  const packed = Uint8Array.from(atob($("chip").textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer();
  const source = new Blob([$("worker").textContent], { type: "text/javascript" });
  page.worker = new Worker(URL.createObjectURL(source));
  page.worker.onerror = (event) => fail(event.message);
  page.worker.onmessage = ({ data }) => {
    if (!data.signals) {
      show(data);
      return;
    }
    page.signals = data.signals;
    $("signal-names").append(...data.signals.map((name) =>
      Object.assign(document.createElement("option"), { value: name })));
    for (const element of document.querySelectorAll(":disabled")) element.disabled = false;
    readSettings();
    setRunning(true);
  };
  for (const { name, on } of config.signals) addSignal(name, on);
  send("start", bytes, config, chosen());
}

$("clock").textContent = `${whole.format(config.clock / 1e6)} MHz`;
$("about").textContent = config.about;
$("prompt").maxLength = 64;
$("temperature").max = config.temperatures.length - 1;
$("temperature").value = config.temperatures.findIndex(([value]) => value === config.temperature);
$("seed").value = 1;
setTheme(prefersDark.matches);
start().catch((error) => fail(error.message));
