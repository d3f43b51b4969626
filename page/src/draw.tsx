/** A picture for the model: drawn by pointer or keys, or opened; shown as the model will see it. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { ModelFacts } from "./api";
import { Pixels } from "./answer";
import { t } from "./words";

const SIDE = 256;
const LARGEST = 256;
const STEP = SIDE / 32;

/** Rows of columns (of channels) of whole numbers 0 to 255. */
export type Grid = number[][] | number[][][];

export function colourOf(grid: Grid): (row: number, column: number) => number[] {
  return (row, column) => {
    const value = grid[row][column];
    return typeof value === "number" ? [value, value, value] : value;
  };
}

/** What has ink, as a box; null where nothing has. */
function box(pen: CanvasRenderingContext2D): [number, number, number, number] | null {
  const { data } = pen.getImageData(0, 0, SIDE, SIDE);
  let [left, top, right, bottom] = [SIDE, SIDE, -1, -1];
  for (let i = 0; i < SIDE * SIDE; i++)
    if (data[4 * i] > 24) {
      const [x, y] = [i % SIDE, Math.floor(i / SIDE)];
      [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
    }
  return right < 0 ? null : [left, top, right - left + 1, bottom - top + 1];
}

/** A part of a canvas, averaged over each pixel of another size. */
function shrunk(source: CanvasImageSource, from: [number, number, number, number], into: [number, number, number, number], height: number, width: number): Uint8ClampedArray {
  const fine = 4;
  const canvas = new OffscreenCanvas(width * fine, height * fine);
  const pen = canvas.getContext("2d", { willReadFrequently: true })!;
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, ...from, into[0] * fine, into[1] * fine, into[2] * fine, into[3] * fine);
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const found = new Uint8ClampedArray(3 * width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let j = 0; j < fine; j++) for (let i = 0; i < fine; i++) sum += data[4 * ((y * fine + j) * width * fine + x * fine + i) + c];
        found[3 * (y * width + x) + c] = Math.round(sum / fine ** 2);
      }
  return found;
}

function grid(flat: Uint8ClampedArray, height: number, width: number, channels: number): Grid {
  const one = (y: number, x: number) => [0, 1, 2].map((c) => flat[3 * (y * width + x) + c]);
  const grey = ([r, g, b]: number[]) => Math.round(0.299 * r + 0.587 * g + 0.114 * b);
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => (channels === 1 ? grey(one(y, x)) : one(y, x)))) as Grid;
}

export function Drawing({ model, changed }: { model: ModelFacts; changed: (pixels: Grid | null) => void }) {
  const place = useRef<HTMLCanvasElement>(null);
  const [centred, setCentred] = useState(true);
  const [seen, setSeen] = useState<Grid | null>(null);
  const [cursor, setCursor] = useState<[number, number] | null>(null);
  const opened = useRef<ImageBitmap | null>(null);
  const size = model.known.size ?? model.known.crop ?? null;
  const channels = model.known.channels ?? 3;
  const pen = () => place.current!.getContext("2d", { willReadFrequently: true })!;

  function look() {
    const [height, width] = size ?? (opened.current ? fitted(opened.current.height, opened.current.width) : [28, 28]);
    const found = box(pen());
    let flat: Uint8ClampedArray | null = null;
    if (opened.current) flat = shrunk(opened.current, [0, 0, opened.current.width, opened.current.height], [0, 0, width, height], height, width);
    else if (found && centred) {
      const rim = Math.min(height, width) >= 20 ? Math.round(Math.min(height, width) / 7) : 0;
      const scale = Math.min((height - 2 * rim) / found[3], (width - 2 * rim) / found[2]);
      const [w, h] = [found[2] * scale, found[3] * scale];
      flat = shrunk(place.current!, found, [(width - w) / 2, (height - h) / 2, w, h], height, width);
    } else if (found) flat = shrunk(place.current!, [0, 0, SIDE, SIDE], [0, 0, width, height], height, width);
    const made = flat && grid(flat, height, width, channels);
    setSeen(made);
    changed(made);
  }
  function wipe() {
    opened.current = null;
    pen().fillStyle = "#000";
    pen().fillRect(0, 0, SIDE, SIDE);
    look();
  }
  useEffect(wipe, [model.name]);
  useEffect(look, [centred]);
  function stroke(from: [number, number], to: [number, number]) {
    if (opened.current) wipe();
    const line = pen();
    line.strokeStyle = "#fff";
    line.lineWidth = SIDE / 11;
    line.lineCap = line.lineJoin = "round";
    line.beginPath();
    line.moveTo(...from);
    line.lineTo(to[0] + 0.01, to[1]); // a line of no length would not be drawn
    line.stroke();
  }
  const last = useRef<[number, number] | null>(null);
  function point(event: PointerEvent): [number, number] {
    const frame = place.current!.getBoundingClientRect();
    return [((event.clientX - frame.left) * SIDE) / frame.width, ((event.clientY - frame.top) * SIDE) / frame.height];
  }
  function keys(event: KeyboardEvent) {
    const by = { ArrowRight: [STEP, 0], ArrowLeft: [-STEP, 0], ArrowDown: [0, STEP], ArrowUp: [0, -STEP], " ": [0, 0] }[event.key];
    if (!by) return;
    event.preventDefault();
    const from = cursor ?? [SIDE / 2, SIDE / 2];
    const to: [number, number] = [Math.max(0, Math.min(SIDE, from[0] + by[0])), Math.max(0, Math.min(SIDE, from[1] + by[1]))];
    if (event.key === " " || event.shiftKey) {
      stroke(from, to);
      look();
    }
    setCursor(to);
  }
  async function open(file: File | undefined) {
    if (!file) return;
    const picture = await createImageBitmap(file).catch(() => null);
    if (!picture) return;
    wipe();
    opened.current = picture;
    const scale = Math.min(SIDE / picture.width, SIDE / picture.height);
    pen().drawImage(picture, (SIDE - picture.width * scale) / 2, (SIDE - picture.height * scale) / 2, picture.width * scale, picture.height * scale);
    look();
  }
  return (
    <div class="drawing">
      <div>
        <div class="board">
          <canvas
            ref={place}
            width={SIDE}
            height={SIDE}
            tabIndex={0}
            role="img"
            aria-label={`${t("draw")}. ${t("drawKeys")}`}
            onKeyDown={keys}
            onBlur={() => setCursor(null)}
            onPointerDown={(event) => {
              place.current!.setPointerCapture(event.pointerId);
              last.current = point(event);
              stroke(last.current, last.current);
            }}
            onPointerMove={(event) => {
              if (!last.current) return;
              const next = point(event);
              stroke(last.current, next);
              last.current = next;
            }}
            onPointerUp={() => {
              last.current = null;
              look();
            }}
          />
          {cursor && <i style={{ left: `${(100 * cursor[0]) / SIDE}%`, top: `${(100 * cursor[1]) / SIDE}%` }} />}
        </div>
        <div class="row">
          <button type="button" onClick={wipe}>
            {t("clear")}
          </button>
          <label class="button">
            {t("openPicture")}
            <input class="hidden" type="file" accept="image/*" onChange={(event) => open(event.currentTarget.files?.[0])} />
          </label>
        </div>
        <label>
          <input type="checkbox" checked={centred} onChange={(event) => setCentred(event.currentTarget.checked)} /> {t("centre")}
        </label>
        <p class="about">{t("drawKeys")}</p>
      </div>
      <figure>
        <figcaption class="muted">
          {t("sees")}
          {seen ? ` (${seen.length} × ${seen[0].length})` : ""}
        </figcaption>
        {seen && (
          <Pixels
            title={t("sees")}
            rows={seen.length}
            columns={seen[0].length}
            colour={colourOf(seen)}
          />
        )}
      </figure>
    </div>
  );
}

/** The size of a picture that may be of any, so that it is not too much to send. */
function fitted(height: number, width: number): [number, number] {
  const scale = Math.min(1, LARGEST / Math.max(height, width));
  return [Math.max(1, Math.round(height * scale)), Math.max(1, Math.round(width * scale))];
}
