// Runs before textual.js looks for the terminal, at the window's load event: where its session is, and how large it writes.
"use strict";

const terminal = document.getElementById("terminal");
const scheme = window.location.protocol === "https:" ? "wss:" : "ws:";
terminal.dataset.sessionWebsocketUrl = `${scheme}//${window.location.host}${window.location.pathname}ws`;

const asked = parseInt(new URLSearchParams(window.location.search).get("fontsize"), 10);
terminal.dataset.fontSize = String(Math.min(Math.max(asked || 16, 8), 40));

// Keys go to the terminal from the start; not before it is connected, for it tells the focus on.
const connected = new MutationObserver(() => {
  if (document.body.classList.contains("-loaded")) {
    connected.disconnect();
    terminal.querySelector("textarea")?.focus();
  }
});
connected.observe(document.body, { attributes: true });

document.getElementById("over").addEventListener("submit", (event) => {
  event.preventDefault();
  window.location.reload();
});
