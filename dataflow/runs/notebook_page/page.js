// The page's own script: the only one that runs in the page. What a notebook put out stays in
// frames without an origin, whose content this script hands over as text.
(() => {
  "use strict";
  const nonce = document.currentScript.nonce;
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("script");

  // -- code: one switch, remembered where the browser lets a page remember -------------------
  const KEY = "dataflow-code";
  const code = document.getElementById("code");
  const kept = () => {
    if (root.dataset.code) return root.dataset.code === "shown"; // the server remembers it
    try { return localStorage.getItem(KEY) === "shown"; } catch { return false; }
  };
  const showCode = (open) => {
    for (const source of all("details.source")) {
      source.open = open || source.parentElement.querySelector(":scope > .label") !== null;
    }
  };
  code.checked = kept();
  if (code.checked) showCode(true);
  code.addEventListener("change", () => {
    showCode(code.checked);
    const value = code.checked ? "shown" : "folded";
    if (root.dataset.code) location.href = `${root.dataset.remember}${value}`; // answered by 204: one stays here
    else try { localStorage.setItem(KEY, value); } catch { /* not here */ }
  });

  // -- frames ------------------------------------------------------------------------------
  const unpack = async (element) => {
    const bytes = Uint8Array.from(atob(element.textContent), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  const libraries = {};
  const libraryOf = (kind) => {
    const element = document.querySelector(`script[data-library="${kind}"]`);
    if (element === null) return "";
    return (libraries[kind] ??= unpack(element));
  };

  // Runs in the frame, before anything else there.
  function inFrame() {
    for (const name of ["RTCPeerConnection", "webkitRTCPeerConnection"]) delete window[name];
    const tell = () => parent.postMessage({ height: document.documentElement.offsetHeight }, "*");
    new ResizeObserver(tell).observe(document.documentElement);
    addEventListener("load", tell);
  }
  // Runs in the frame of a plot, when its library is there.
  function draw(kind) {
    const data = JSON.parse(document.getElementById("data").textContent);
    const place = document.getElementById("plot");
    const failed = (error) => { place.textContent = `This plot could not be drawn: ${error}`; };
    try {
      if (kind === "plotly") Plotly.newPlot(place, data.data, data.layout, data.config).catch(failed);
      else if (kind === "bokeh") {
        for (const item of data.render_items) {
          for (const id of Object.values(item.roots ?? {})) {
            const root = document.createElement("div");
            root.id = id;
            place.append(root);
          }
        }
        Promise.resolve(Bokeh.embed.embed_items(data.docs_json, data.render_items)).catch(failed);
      } else vegaEmbed(place, data, { ast: true, actions: false }).catch(failed);
    } catch (error) { failed(error); }
  }
  const script = (text) =>
    `<script nonce="${nonce}">${text.replace(/<(\/script|!--)/gi, "<\\$1")}</` + "script>";
  const STYLE = `<style>:root { color-scheme: light; print-color-adjust: exact } html { overflow: auto }
    body { margin: 0; padding: 8px; font: 14px/1.5 system-ui, sans-serif; color: #111; background: #fff }
    #plot { width: 100% } table { border-collapse: separate; border-spacing: 0; font-size: 13px; font-variant-numeric: tabular-nums }
    th, td { padding: 3px 10px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
    thead th { position: sticky; top: 0; background: #fff; z-index: 2 } tbody th { position: sticky; left: 0; background: #fff; z-index: 1 }
    .rows body, body.rows { padding-top: 0 } img, svg { max-width: 100% }</style>`;
  const documentOf = async (kind, content, rows) => {
    const start = `<!DOCTYPE html><html><head><meta charset="utf-8">${STYLE}${script(`(${inFrame})()`)}</head><body${rows ? ' class="rows"' : ""}>`;
    if (kind === "html") return start + content;
    if (kind === "script") return start + content.replace(/<script\b/gi, `<script nonce="${nonce}"`);
    const data = `<script type="application/json" id="data">${content.replaceAll("<", "\\u003c")}</` + "script>";
    return `${start}<div id="plot"></div>${data}${script(await libraryOf(kind))}${script(`(${draw})(${JSON.stringify(kind)})`)}`;
  };
  let printing = false;
  const drawn = new Map(); // a frame's window → its element
  const fill = async (place) => {
    if (place.dataset.filled) return;
    place.dataset.filled = "yes";
    const { kind } = place.dataset;
    const element = document.querySelector(`script[data-content="${place.dataset.frame}"]`);
    const rows = place.classList.contains("rows");
    const frame = document.createElement("iframe");
    // Without an origin; links of what has no script of its own may open another window.
    const leave = kind === "html" ? " allow-popups allow-popups-to-escape-sandbox" : "";
    frame.setAttribute("sandbox", `allow-scripts${leave}`);
    frame.setAttribute("referrerpolicy", "no-referrer");
    frame.title = "Output of the notebook";
    frame.style.height = rows ? "32rem" : "6rem";
    frame.srcdoc = await documentOf(kind, await unpack(element), rows);
    const large = document.createElement("label");
    large.className = "enlarge";
    large.innerHTML = '<input type="checkbox" class="large">Large';
    place.replaceChildren(frame, large);
    drawn.set(frame.contentWindow, { frame, rows });
  };
  addEventListener("message", ({ source, data }) => {
    const one = drawn.get(source);
    const height = Number(data?.height);
    if (!one || printing || !Number.isFinite(height)) return;
    const most = one.rows ? 512 : 1600;
    one.frame.style.height = `${Math.min(Math.max(height + 2, 40), most)}px`;
  });
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      fill(entry.target);
    }
  }, { rootMargin: "300px" });
  const places = all(".frame:not(.asked)");
  for (const place of places) near.observe(place);
  // The first ones are drawn one after the other when there is time, so that they are on paper, too.
  const later = window.requestIdleCallback ?? ((act) => setTimeout(act, 500));
  const drawNext = (rest) => later(async () => {
    const place = rest.find((one) => !one.dataset.filled && !one.closest("details:not([open])"));
    if (place === undefined) return;
    await fill(place);
    setTimeout(() => drawNext(rest), 300);
  });
  addEventListener("load", () => drawNext(places.slice(0, 8)));
  for (const place of all(".frame.asked")) {
    place.querySelector(".run").addEventListener("click", () => fill(place));
  }

  // -- search ------------------------------------------------------------------------------
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const cells = all(".cell");
  let hits = [];
  let at = -1;
  const opened = new Set(); // what the search opened, and closes again
  const rangesIn = (cell, words) => {
    const ranges = [];
    const walker = document.createTreeWalker(cell.querySelector(".body"), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest("summary, script")) continue;
      const text = node.data.toLowerCase();
      for (let place = text.indexOf(words); place >= 0 && ranges.length < 500; place = text.indexOf(words, place + words.length)) {
        const range = new Range();
        range.setStart(node, place);
        range.setEnd(node, place + words.length);
        ranges.push(range);
      }
    }
    return ranges;
  };
  const look = () => {
    const words = search.value.trim().toLowerCase();
    for (const details of opened) details.open = false;
    opened.clear();
    hits = [];
    at = -1;
    let count = 0;
    for (const cell of cells) {
      // Words that are coloured one by one are found in the cell's text as a whole.
      const whole = words && cell.querySelector(".body").textContent.toLowerCase().includes(words);
      cell.hidden = Boolean(words) && !whole;
      if (!whole) continue;
      count += 1;
      const ranges = rangesIn(cell, words);
      hits.push(...(ranges.length ? ranges : [cell]));
      for (const range of ranges) {
        const details = range.startContainer.parentElement.closest("details:not([open])");
        if (details) { details.open = true; opened.add(details); }
      }
    }
    found.textContent = words ? `${count} of ${cells.length} cells` : "";
    if (window.CSS?.highlights) {
      CSS.highlights.set("found", new Highlight(...hits.filter((hit) => hit instanceof Range)));
    }
  };
  let wait;
  search.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(look, 150); });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && hits.length) {
      event.preventDefault();
      at = (at + (event.shiftKey ? -1 : 1) + hits.length) % hits.length;
      const hit = hits[at] instanceof Range ? hits[at].startContainer.parentElement : hits[at];
      hit.scrollIntoView({ block: "center" });
    }
    if (event.key === "Escape") { search.value = ""; look(); search.blur(); }
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const box of all(".large:checked")) box.checked = false;
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    search.focus();
  });

  // -- opening and printing ------------------------------------------------------------------
  const openTarget = () => {
    let target = null;
    try { target = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { /* no such address */ }
    for (let details = target?.closest("details"); details; details = details.parentElement.closest("details")) details.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  const shut = [];
  addEventListener("beforeprint", () => {
    for (const details of all("details:not([open])")) { shut.push(details); details.open = true; }
    // What is wide is made to fit, rather than cut: on A4 a cell has some 600 pixels, and the
    // letters of a table are smaller there.
    printing = true;
    for (const table of all(".body table")) {
      if (table.offsetWidth > 780) table.style.zoom = Math.max(0.3, 780 / table.offsetWidth);
    }
    for (const { style, offsetWidth, offsetHeight, parentElement } of all(".frame iframe")) {
      const scale = Math.min(1, 600 / offsetWidth);
      // It keeps its size, so that the plot in it is not laid out anew while it is printed.
      Object.assign(style, { width: `${offsetWidth}px`, transform: `scale(${scale})`, transformOrigin: "0 0" });
      parentElement.style.height = `${offsetHeight * scale}px`;
    }
  });
  addEventListener("afterprint", () => {
    for (const details of shut.splice(0)) details.open = false;
    printing = false;
    for (const table of all(".body table")) table.style.zoom = "";
    for (const frame of all(".frame iframe")) {
      Object.assign(frame.style, { width: "", transform: "" });
      frame.parentElement.style.height = "";
    }
  });
})();
