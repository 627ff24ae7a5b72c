"use strict";
const entries = JSON.parse(document.getElementById("index").textContent);
const input = document.getElementById("q");
const list = document.getElementById("results");
const told = document.getElementById("found");
function show() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const ranked = [];
  if (words.length) {
    entries.forEach(([kind, title, workflow, url, text], number) => {
      const name = title.toLowerCase(), all = text.toLowerCase();
      if (!words.every((word) => name.includes(word) || all.includes(word))) return;
      const rank = -words.filter((word) => name.includes(word)).length;
      const places = words.map((word) => all.indexOf(word)).filter((at) => at >= 0);
      const at = places.length ? Math.max(0, Math.min(...places) - 70) : 0;
      ranked.push({rank, exact: words.includes(name) ? 0 : 1, number, kind, title, workflow, url,
        piece: (at ? "…" : "") + text.slice(at, at + 160)});
    });
    ranked.sort((a, b) => a.rank - b.rank || a.exact - b.exact || a.number - b.number);
  }
  list.replaceChildren(...ranked.slice(0, 50).map((hit) => {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = hit.url;
    link.textContent = hit.title;
    const about = document.createElement("span"), piece = document.createElement("div");
    about.className = "soft";
    about.textContent = ` ${hit.kind}${hit.workflow ? " of " + hit.workflow : ""}`;
    piece.className = "piece";
    piece.textContent = hit.piece;
    item.append(link, about, piece);
    return item;
  }));
  told.textContent = !words.length ? "" : !ranked.length ? "Nothing has all of these words."
    : ranked.length === 1 ? "1 result" : `${ranked.length} results`;
}
input.addEventListener("input", show);
show();
