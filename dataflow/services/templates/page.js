
"use strict";
// Somebody who writes or selects is left alone; focus, scroll and what is open stay.
const main = document.querySelector("main");
const shown = new Map();
const busy = () =>
  document.hidden || !getSelection().isCollapsed ||
  document.activeElement?.matches("input, select, textarea") ||
  [...document.querySelectorAll("input, textarea")].some((field) => field.value !== field.defaultValue);
const nameOf = (element) => element.id || element.getAttribute("href") || element.textContent;
function swap(part, fresh) {
  const html = fresh.innerHTML;
  if ((shown.get(part.id) ?? part.innerHTML) === html) return;
  shown.set(part.id, html);
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const open = new Set([...part.querySelectorAll("details[open]")].map((one) => one.id));
  part.innerHTML = html;
  part.querySelectorAll("details[id]").forEach((one) => { one.open = open.has(one.id); });
  if (focused) [...part.querySelectorAll(focused.tagName)]
    .find((one) => nameOf(one) === nameOf(focused))?.focus({ preventScroll: true });
}
async function refresh() {
  let seconds = Number(main.dataset.refresh);
  if (!busy()) {
    try {
      const answer = await fetch(location.href);
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      if (answer.ok && next && !busy()) {
        if (next.dataset.state !== main.dataset.state) return location.reload();
        seconds = Number(next.dataset.refresh) || 0;
        for (const part of document.querySelectorAll("[data-live]")) {
          const fresh = next.querySelector(`#${part.id}`);
          if (fresh) swap(part, fresh);
        }
      }
    } catch { seconds = 10; } // the server is away for a moment
  }
  if (seconds) setTimeout(refresh, seconds * 1000);
}
// A strip of links is one stop of the Tab key.
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
  const links = [...(event.target.closest("[data-arrows]")?.querySelectorAll("a") ?? [])]
    .filter((link) => link.offsetParent);
  if (!step || !links.length) return;
  const to = links.indexOf(event.target) + step;
  links[Math.min(Math.max(to, 0), links.length - 1)].focus();
  event.preventDefault();
});
setTimeout(refresh, Number(main.dataset.refresh) * 1000);
