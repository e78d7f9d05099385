#pragma once
// The page around a picture's data; see html.h.

#include <string_view>

namespace penstock::timeline {

/// Up to the data. Format arguments: title, heading, note on labels.
inline constexpr std::string_view page_head = R"page(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 14px system-ui, sans-serif; margin: 1rem; background: Canvas; color: CanvasText; }}
h1 {{ font-size: 1.1rem; margin: 0 0 .5rem; }}
canvas {{ display: block; width: 100%; cursor: grab; touch-action: none; }}
#legend span {{ margin-right: 1.2em; white-space: nowrap; }}
#legend i {{ display: inline-block; width: .9em; height: .9em; margin-right: .15em; }}
#tip {{ position: fixed; display: none; padding: .3em .6em; pointer-events: none; font-size: 13px;
  background: Canvas; color: CanvasText; border: 1px solid #888; white-space: pre; }}
.note {{ color: #7b828c; }}
</style>
</head>
<body>
<h1>{}</h1>
<p class="note">Wheel: zoom. Drag: move. Double click: everything.
Pointer on a cell: what it is.</p>
<canvas id="picture"></canvas>
<p id="legend"></p>
<p class="note">{}; light: even weight versions, dark: odd.
A bar at the left edge starts a batch.</p>
<div id="tip"></div>
<script>
const data = )page";

/// Behind the data.
inline constexpr std::string_view page_script = R"page(;
"use strict";
const canvas = document.getElementById("picture");
const tip = document.getElementById("tip");
const pen = canvas.getContext("2d");
const rowsOf = data.panels.map(panel => panel.stages.length);
const longest = Math.max(1, ...data.panels.map(panel => panel.length));
const rowHeight = Math.max(...rowsOf) > 16 ? 16 : 24;
const margin = 76, titleHeight = 24, axisHeight = 26;
const height = rowsOf.reduce((sum, rows) => sum + titleHeight + rows * rowHeight + axisHeight, 4);
let width = 0, start = 0, scale = 0;  // nanoseconds at the left border, pixels per nanosecond

function clampView() {
  const least = (width - margin - 8) / longest;
  scale = Math.min(Math.max(scale, least), Math.max(least, 2));
  start = Math.min(Math.max(start, 0), Math.max(0, longest - (width - margin - 8) / scale));
}

function labelOf(cell, {chunks, lone}) {
  const mark = data.marks[cell[0]];
  if (mark.bubble) return "";
  const odd = cell[3] % 2 !== 0 && mark.letter !== "E";
  const letter = odd ? mark.letter.toLowerCase() : mark.letter;
  if (mark.letter === "U" || mark.letter === "R") return letter;
  const number = lone && mark.letter !== "E" ? cell[3] : cell[4];
  if (chunks === 1) return letter + number;
  const chunk = chunks <= 26 ? String.fromCharCode(97 + cell[6]) : "." + cell[6];
  return letter + number + chunk;
}

function timeText(nanoseconds) {
  if (data.plain) return String(+(nanoseconds / 1e9).toPrecision(6));
  const size = Math.abs(nanoseconds);
  if (size === 0) return "0";
  if (size < 1e6) return +(nanoseconds / 1e3).toPrecision(4) + " us";
  if (size < 1e9) return +(nanoseconds / 1e6).toPrecision(4) + " ms";
  return +(nanoseconds / 1e9).toPrecision(6) + " s";
}

// The first cell of a sorted list that ends behind a moment.
function firstAfter(cells, moment) {
  let low = 0, high = cells.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (cells[middle][1] + cells[middle][2] < moment) low = middle + 1; else high = middle;
  }
  return low;
}

function drawRow(cells, panel, y, end) {
  const font = rowHeight > 20 ? 12 : 10;
  pen.font = font + "px ui-monospace, Menlo, Consolas, monospace";
  pen.textAlign = "center";
  const inner = rowHeight - 3;
  for (let i = firstAfter(cells, start); i < cells.length && cells[i][1] <= end; ++i) {
    const cell = cells[i], mark = data.marks[cell[0]], odd = cell[5] & 1;
    const x = margin + (cell[1] - start) * scale, size = cell[2] * scale;
    if (cell[2] === 0) {
      pen.fillStyle = mark.fill[1];
      pen.fillRect(x - 1, y + inner - 7, 2, 9);
      continue;
    }
    pen.globalAlpha = mark.bubble && mark.letter === "" && cell[0] < data.transfer ? 0.35 : 1;
    pen.fillStyle = mark.fill[odd];
    pen.fillRect(x, y, Math.max(size - (size > 3 ? 1 : 0), 0.5), inner);
    pen.globalAlpha = 1;
    if (!panel.lone && cell[4] === 0 && !mark.bubble && "FBXW".includes(mark.letter) && size > 8) {
      pen.fillStyle = mark.ink[odd];
      pen.fillRect(x, y, 2, inner);
    }
    const text = labelOf(cell, panel);
    if (text !== "" && pen.measureText(text).width + 4 <= size) {
      pen.fillStyle = mark.ink[odd];
      pen.fillText(text, x + size / 2, y + inner / 2 + font * 0.36);
    }
  }
}

function drawAxis(panel, y) {
  const base = data.plain ? panel.from : 0;
  const wanted = 90 / scale, power = 10 ** Math.floor(Math.log10(wanted));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= wanted * 0.999);
  pen.fillStyle = "#7b828c";
  pen.font = "12px ui-monospace, Menlo, Consolas, monospace";
  pen.textAlign = "left";
  const end = start + (width - margin) / scale;
  for (let k = Math.ceil((start + base) / step); k * step - base <= end; ++k) {
    const x = margin + (k * step - base - start) * scale;
    pen.fillRect(x, y, 1, 6);
    pen.fillText(timeText(k * step), x + 3, y + 14);
  }
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  width = canvas.clientWidth;
  canvas.style.height = height + "px";
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  clampView();
  const end = start + (width - margin) / scale;
  let y = 0;
  for (const panel of data.panels) {
    pen.textAlign = "left";
    pen.fillStyle = "#7b828c";
    pen.font = "13px system-ui, sans-serif";
    pen.fillText(panel.title, 0, y + 15);
    y += titleHeight;
    pen.save();
    pen.beginPath();
    pen.rect(margin, y, width - margin, panel.stages.length * rowHeight);
    pen.clip();
    panel.stages.forEach((cells, stage) => {
      pen.fillStyle = "rgba(128,136,144,.18)";
      pen.fillRect(margin, y + stage * rowHeight, (panel.length - start) * scale, rowHeight - 3);
      drawRow(cells, panel, y + stage * rowHeight, end);
    });
    pen.restore();
    pen.textAlign = "left";
    pen.fillStyle = "#7b828c";
    pen.font = "12px ui-monospace, Menlo, Consolas, monospace";
    panel.stages.forEach((_, stage) => {
      pen.fillText("stage " + stage, 0, y + stage * rowHeight + rowHeight / 2 + 3);
    });
    y += panel.stages.length * rowHeight;
    drawAxis(panel, y);
    y += axisHeight;
  }
}

function cellAt(x, y) {
  let top = 0;
  for (const panel of data.panels) {
    top += titleHeight;
    const row = Math.floor((y - top) / rowHeight);
    if (row >= 0 && row < panel.stages.length) {
      const moment = start + (x - margin) / scale, cells = panel.stages[row];
      const cell = x < margin ? undefined : cells[firstAfter(cells, moment)];
      return cell && cell[1] <= moment ? {panel, row, cell} : null;
    }
    top += panel.stages.length * rowHeight + axisHeight;
  }
  return null;
}

function describe({panel, row, cell}) {
  const mark = data.marks[cell[0]], begin = cell[1] + panel.from;
  const counted = mark.letter !== "U" && mark.letter !== "R" && cell[0] !== data.waitUpdate;
  let text = "stage " + row + ": " + mark.title + "\nbatch " + cell[3];
  if (counted) text += ", micro-batch " + cell[4];
  if (panel.chunks > 1 && counted) text += ", chunk " + cell[6];
  return text + "\nweights W(" + cell[5] + ")\n" + timeText(begin) + " to " +
    timeText(begin + cell[2]) + " (" + timeText(cell[2]) + ")";
}

canvas.addEventListener("wheel", event => {
  event.preventDefault();
  const x = Math.max(event.offsetX - margin, 0), moment = start + x / scale;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    start += (event.deltaX || event.deltaY) / scale;
  } else {
    scale *= Math.exp(-event.deltaY / 400);
    clampView();
    start = moment - x / scale;
  }
  draw();
}, {passive: false});
let held = null;
canvas.addEventListener("pointerdown", event => {
  held = {x: event.clientX, start};
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointerup", () => { held = null; });
canvas.addEventListener("pointercancel", () => { held = null; });
canvas.addEventListener("pointermove", event => {
  if (held) {
    start = held.start - (event.clientX - held.x) / scale;
    draw();
  }
  const found = held ? null : cellAt(event.offsetX, event.offsetY);
  tip.style.display = found ? "block" : "none";
  if (!found) return;
  tip.textContent = describe(found);
  tip.style.left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8) + "px";
});
canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; });
canvas.addEventListener("dblclick", () => { start = 0; scale = 0; draw(); });
window.addEventListener("resize", draw);
const legend = document.getElementById("legend");
for (const index of data.legend) {
  const mark = data.marks[index], entry = document.createElement("span");
  for (const fill of new Set(mark.fill)) {
    const swatch = document.createElement("i");
    swatch.style.background = fill;
    entry.append(swatch);
  }
  entry.append((mark.letter ? mark.letter + " " : "") + mark.title);
  legend.append(entry);
}
scale = data.scale;
width = canvas.clientWidth;
draw();
</script>
</body>
</html>
)page";

}  // namespace penstock::timeline
