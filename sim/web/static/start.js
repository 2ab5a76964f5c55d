"use strict";

// --- Start ---

async function start() {
  const bytes = await openChip((data) => {
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
  });
  for (const { name, on } of config.signals) addSignal(name, on);
  send("start", bytes, config, chosen());
}

$("prompt").maxLength = 64;
begin(start);
