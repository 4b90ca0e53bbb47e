// Shows what changes, as it changes: asks for the page again and swaps its main part.
"use strict";
const PAUSE_MS = 400;
let waiting = false;

async function refresh() {
  waiting = false;
  const reply = await fetch(location.href);
  if (!reply.ok) return;
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  const wide = () => [...document.querySelectorAll(".scroll, .chain, .nexts")];
  const lefts = wide().map((one) => one.scrollLeft);
  document.querySelector("[data-live]").replaceWith(page.querySelector("[data-live]"));
  wide().forEach((one, i) => { one.scrollLeft = lefts[i] || 0; });
  document.title = page.title;
}

function soon() {
  if (waiting) return;
  waiting = true;
  setTimeout(() => refresh().catch(() => {}), PAUSE_MS);
}

const stream = new EventSource("/api/v1/events");
for (const name of ["block", "transaction", "removed", "reorganisation"]) stream.addEventListener(name, soon);
setInterval(soon, 30000);
