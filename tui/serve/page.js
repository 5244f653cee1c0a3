// Runs before textual.js looks for the terminal, at the window's load event: where its session is, and how large it writes.
"use strict";

const terminal = document.getElementById("terminal");
const scheme = window.location.protocol === "https:" ? "wss:" : "ws:";
terminal.dataset.sessionWebsocketUrl = `${scheme}//${window.location.host}${window.location.pathname}ws`;

const asked = parseInt(new URLSearchParams(window.location.search).get("fontsize"), 10);
terminal.dataset.fontSize = String(Math.min(Math.max(asked || 16, 8), 40));

document.getElementById("over").addEventListener("submit", (event) => {
  event.preventDefault();
  window.location.reload();
});
