/** A task's answer as what it is: probabilities as bars, pixels and masks as pictures, lists as tables, the rest as names and values. */

import { useEffect, useRef } from "preact/hooks";
import { number, share } from "./numbers";

const MOST_ROWS = 100;
const MOST_BARS = 12;

type Plain = unknown;

export function Bars({ shares, most = MOST_BARS }: { shares: [string, number][]; most?: number }) {
  return (
    <table class="bars">
      <tbody>
        {shares.slice(0, most).map(([name, value], i) => (
          <tr class={i ? "" : "first"}>
            <th>{name}</th>
            <td>
              <span class="bar">
                <span style={{ width: `${100 * value}%` }} />
              </span>
            </td>
            <td>{share(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const matrix = (value: Plain): value is number[][] => Array.isArray(value) && Array.isArray(value[0]) && typeof value[0][0] === "number" && value.length > 3 && value[0].length > 3;

const HUES = [[49, 89, 196], [222, 143, 5], [2, 158, 115], [204, 120, 188], [202, 145, 97], [213, 94, 0], [148, 148, 148], [86, 180, 233]];

/** (rows, columns) of what each pixel's colour is. */
export function Pixels({ rows, columns, colour, title }: { rows: number; columns: number; colour: (row: number, column: number) => number[]; title: string }) {
  const place = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const pen = place.current!.getContext("2d")!;
    const image = pen.createImageData(columns, rows);
    for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) image.data.set([...colour(y, x), 255], 4 * (y * columns + x));
    pen.putImageData(image, 0, 0);
  });
  return <canvas class="pixels" ref={place} width={columns} height={rows} role="img" aria-label={title} />;
}

function Planes({ planes, title }: { planes: number[][][]; title: string }) {
  const grey = planes.length < 3;
  const one = (plane: number[][], y: number, x: number) => 255 * Math.max(0, Math.min(1, plane[y][x]));
  return <Pixels title={title} rows={planes[0].length} columns={planes[0][0].length} colour={(y, x) => [0, 1, 2].map((i) => one(planes[grey ? 0 : i], y, x))} />;
}

function Mask({ mask, labels }: { mask: number[][]; labels: string[] }) {
  const hue = (index: number) => (index < 0 ? [120, 120, 120] : HUES[index % HUES.length]);
  return (
    <>
      <Pixels title={labels.join(", ")} rows={mask.length} columns={mask[0].length} colour={(y, x) => hue(mask[y][x])} />
      <ul class="legend">
        {labels.map((label, i) => (
          <li>
            <i style={{ background: `rgb(${hue(i).join(",")})` }} /> {label}
          </li>
        ))}
      </ul>
    </>
  );
}

function Table({ rows }: { rows: Record<string, Plain>[] }) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            {names.map((name) => (
              <th>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, MOST_ROWS).map((row) => (
            <tr>
              {names.map((name) => (
                <td>{cell(row[name])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function cell(value: Plain): string {
  if (typeof value === "number") return number(value);
  if (Array.isArray(value) && value.every((each) => typeof each === "number")) return value.slice(0, 8).map(number).join(", ") + (value.length > 8 ? ` … (${value.length})` : "");
  return typeof value === "string" ? value : value === null || value === undefined ? "–" : JSON.stringify(value);
}

function Value({ name, value, all }: { name: string; value: Plain; all: Record<string, Plain> }) {
  if (name === "mask" && matrix(value)) return <Mask mask={value} labels={(all.labels as string[]) ?? []} />;
  if (name === "pixels" && Array.isArray(value) && matrix(value[0])) return <Planes planes={value as number[][][]} title={name} />;
  if (value && typeof value === "object" && !Array.isArray(value)) {
    const entries = Object.entries(value);
    if (entries.every(([, each]) => typeof each === "number" && each >= 0 && each <= 1)) return <Bars shares={(entries as [string, number][]).sort((a, b) => b[1] - a[1])} />;
    return <Answer answer={value as Record<string, Plain>} />;
  }
  if (Array.isArray(value) && value.length && value.every((each) => each && typeof each === "object" && !Array.isArray(each))) return <Table rows={value as Record<string, Plain>[]} />;
  if (typeof value === "string" && (value.length > 60 || value.includes("\n"))) return <pre>{value}</pre>;
  return <span class="value">{cell(value)}</span>;
}

/** A picture with what was found in it: x₁ y₁ x₂ y₂ of each in its pixels. */
export function Boxes({ rows, columns, colour, boxes, labels }: { rows: number; columns: number; colour: (row: number, column: number) => number[]; boxes: number[][]; labels: string[] }) {
  const part = (value: number, whole: number) => `${(100 * value) / whole}%`;
  return (
    <div class="boxes">
      <Pixels title={labels.join(", ")} rows={rows} columns={columns} colour={colour} />
      {boxes.map(([left, top, right, bottom], i) => (
        <i
          title={labels[i]}
          style={{ left: part(left, columns), top: part(top, rows), width: part(right - left, columns), height: part(bottom - top, rows), borderColor: `rgb(${HUES[[...new Set(labels)].indexOf(labels[i]) % HUES.length].join(",")})` }}
        />
      ))}
    </div>
  );
}

/** Lists that say something of the same things: as rows. */
function together(answer: Record<string, Plain>): Record<string, Plain>[] | null {
  const lists = Object.values(answer);
  if (lists.length < 2 || !lists.every((list) => Array.isArray(list) && list.length === (lists[0] as Plain[]).length)) return null;
  return (lists[0] as Plain[]).map((_, i) => Object.fromEntries(Object.entries(answer).map(([name, list]) => [name, (list as Plain[])[i]])));
}

export function Answer({ answer }: { answer: Record<string, Plain> }) {
  const rows = together(answer);
  if (rows) return rows.length ? <Table rows={rows} /> : <p class="muted">–</p>;
  const entries = Object.entries(answer).filter(([name, value]) => value !== null && !(Array.isArray(value) && !value.length) && !(name === "labels" && "mask" in answer));
  return (
    <dl class="answer">
      {entries.map(([name, value]) => (
        <div>
          <dt>{name.replaceAll("_", " ")}</dt>
          <dd>
            <Value name={name} value={value} all={answer} />
          </dd>
        </div>
      ))}
    </dl>
  );
}
