/** What an answer rests on: of a text the tokens that the one pointed at looks at, of a picture the places. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ask, type Failed, type ModelFacts } from "./api";
import { Pixels } from "./answer";
import { colourOf, type Grid } from "./draw";
import { usePointing, useRested } from "./hooks";
import { number, share } from "./numbers";
import { Labelled, Trouble } from "./parts";
import { t, visible, type Word } from "./words";

interface Found {
  method: string;
  tokens: string[];
  at: number | null;
  layers: number[];
  weights: number[][][];
  parts: number[];
  heat: number[][];
  says: string | null;
}

const REST = 80;
const MOST = 5;
const MEAN = "";

/** Whether somebody wants to see it: it costs the model a pass. */
export function Wish({ open, set }: { open: boolean; set: (open: boolean) => void }) {
  return (
    <label>
      <input type="checkbox" checked={open} onChange={(event) => set(event.currentTarget.checked)} /> {t("evidence")}
    </label>
  );
}

export function Wanted({ children }: { children: () => preact.ComponentChildren }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <p>
        <Wish open={open} set={setOpen} />
      </p>
      {open && children()}
    </>
  );
}

/** What the server finds, asked for when `about` has rested; what was found before is kept as long. */
function useFound(model: ModelFacts, about: object): { found: Found | null; failed: Failed | null } {
  const [found, setFound] = useState<Found | null>(null);
  const [failed, setFailed] = useState<Failed | null>(null);
  const known = useRef(new Map<string, Found>());
  const key = JSON.stringify({ model: model.name, ...about });
  useRested(key, known.current.has(key) ? 0 : REST, async (signal) => {
    try {
      const answer = known.current.get(key) ?? (await ask<Found>("/evidence", JSON.parse(key), { signal }));
      known.current.set(key, answer);
      setFound(answer);
      setFailed(null);
    } catch (error) {
      if (!signal.aborted) setFailed(error as Failed);
    }
  });
  return { found, failed };
}

function Choice({ title, value, choose, names }: { title: string; value: string; choose: (value: string) => void; names: [string, string][] }) {
  return (
    <Labelled title={title}>
      <select value={value} onChange={(event) => choose(event.currentTarget.value)}>
        {names.map(([name, shown]) => (
          <option value={name}>{shown}</option>
        ))}
      </select>
    </Labelled>
  );
}

/** The mean over the chosen layers and heads, or the parts of the gradient: a number for each token. */
function numbersOf(found: Found, layer: string, head: string): number[] {
  if (found.method !== "attention") return found.parts;
  const layers = layer === MEAN ? found.weights : [found.weights[Number(layer)] ?? found.weights[0]];
  const rows = layers.flatMap((heads) => (head === MEAN ? heads : [heads[Number(head)] ?? heads[0]]));
  return found.tokens.map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
}

/** The tokens of a text or a conversation as the model read them, shaded by how much the one pointed at rests on each. */
export function TextEvidence({ model, about }: { model: ModelFacts; about: { text: string } | { messages: object[] } }) {
  const [method, setMethod] = useState(model.evidence[0]);
  const [layer, setLayer] = useState(MEAN);
  const [head, setHead] = useState(MEAN);
  const count = useRef(0);
  const { at, setAt, move } = usePointing(() => count.current);
  useEffect(() => setAt(null), [JSON.stringify(about)]);
  const { found, failed } = useFound(model, { ...about, method, ...(at === null ? {} : { at }) });
  count.current = found?.tokens.length ?? 0;
  const values = found ? numbersOf(found, layer, head) : [];
  const most = Math.max(1e-12, ...values.map(Math.abs));
  const pointed = at ?? found?.at ?? null;
  const shown = (value: number) => (found?.method === "attention" ? share(value) : number(value));
  const first = values.map((value, i) => [i, value] as const).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  return (
    <div class="evidence">
      <div class="row tools">
        {model.evidence.length > 1 && <Choice title={t("method")} value={method} choose={setMethod} names={model.evidence.map((name) => [name, t(name as Word)])} />}
        {found?.method === "attention" && (
          <>
            <Choice title={t("layer")} value={layer} choose={setLayer} names={[[MEAN, t("mean")], ...found.layers.map((name, i): [string, string] => [`${i}`, `${name + 1}`])]} />
            <Choice title={t("head")} value={head} choose={setHead} names={[[MEAN, t("mean")], ...found.weights[0].map((_, i): [string, string] => [`${i}`, `${i + 1}`])]} />
          </>
        )}
      </div>
      <Trouble failed={failed} />
      {found && (
        <div class="written">
          <span class="tokens" tabIndex={0} role="group" aria-label={t("evidenceHint")} onKeyDown={move}>
            {found.tokens.map((text, i) => (
              <span class={`token${i === pointed ? " at" : ""}${values[i] < 0 ? " against" : " for"}`} style={{ "--share": `${Math.round((100 * Math.abs(values[i])) / most)}%` }} onMouseEnter={() => setAt(i)}>
                {text}
              </span>
            ))}
          </span>
          {found.at !== null && (
            <span class="peek" role="status">
              <strong>
                {visible(found.tokens[found.at])}
                {found.says !== null && found.says !== found.tokens[found.at] ? ` → ${found.says}` : ""}
              </strong>
              {first.slice(0, MOST).map(([i, value]) => (
                <span>
                  <i>
                    {visible(found.tokens[i])} <small>{i + 1}</small>
                  </i>
                  <span class="bar">
                    <span style={{ width: `${(100 * Math.abs(value)) / most}%` }} />
                  </span>
                  {shown(value)}
                </span>
              ))}
            </span>
          )}
        </div>
      )}
      <p class="about">{t(found?.method === "gradient" ? "gradientHint" : "evidenceHint")}</p>
    </div>
  );
}

const STOPS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

/** A colour from dark to bright for 0 to 1. */
function warmth(value: number): number[] {
  const place = Math.max(0, Math.min(1, value)) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(place));
  return STOPS[low].map((part, i) => part + (place - low) * (STOPS[low + 1][i] - part));
}

/** A value of a coarse grid at a place of a fine one, between its four neighbours. */
function between(grid: number[][], y: number, x: number): number {
  const [top, left] = [Math.max(0, Math.min(grid.length - 1, y)), Math.max(0, Math.min(grid[0].length - 1, x))];
  const [i, j] = [Math.floor(top), Math.floor(left)];
  const [below, right] = [Math.min(grid.length - 1, i + 1), Math.min(grid[0].length - 1, j + 1)];
  const row = (k: number) => grid[k][j] + (left - j) * (grid[k][right] - grid[k][j]);
  return row(i) + (top - i) * (row(below) - row(i));
}

/** A picture with what the answer rests on laid over it. */
export function PictureEvidence({ model, pixels }: { model: ModelFacts; pixels: Grid }) {
  const { found, failed } = useFound(model, { pixels });
  const [rows, columns] = [pixels.length, pixels[0].length];
  const all = found?.heat.flat() ?? [];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const picture = colourOf(pixels);
  function colour(y: number, x: number): number[] {
    const [tall, wide] = [found!.heat.length, found!.heat[0].length];
    const value = between(found!.heat, ((y + 0.5) * tall) / rows - 0.5, ((x + 0.5) * wide) / columns - 0.5);
    const warm = warmth(high > low ? (value - low) / (high - low) : 0);
    return picture(y, x).map((part, i) => 0.4 * part + 0.6 * warm[i]);
  }
  return (
    <figure class="evidence" aria-live="polite">
      <Trouble failed={failed} />
      {found && (
        <>
          <Pixels title={t("evidence")} rows={rows} columns={columns} colour={colour} />
          <figcaption class="muted">
            {t(found.method as Word)}
            {found.says !== null ? ` → ${found.says}` : ""}
          </figcaption>
        </>
      )}
    </figure>
  );
}
