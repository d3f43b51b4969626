/** Curves of runs over step, seconds or units, drawn by uPlot. */

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Line } from "./api";
import { number } from "./numbers";
import { t } from "./words";

export type Axis = "step" | "seconds" | "units";

export interface Curve {
  label: string;
  lines: Line[];
  field: string;
  dots?: boolean;
}

/** What curves are drawn over. */
export function AxisChoice({ axis, set }: { axis: Axis; set: (axis: Axis) => void }) {
  return (
    <label>
      {t("axis")}{" "}
      <select value={axis} onChange={(event) => set(event.currentTarget.value as Axis)}>
        {(["step", "seconds", "units"] as const).map((name) => (
          <option value={name}>{t(name)}</option>
        ))}
      </select>
    </label>
  );
}

const HEIGHT = 260;
const COLOURS = ["--curve-1", "--curve-2", "--curve-3", "--curve-4", "--curve-5", "--curve-6"];
const MOST = 4000;

/** One table for uPlot of curves that may have their points at different places. */
function table(curves: Curve[], axis: Axis, log: boolean): uPlot.AlignedData {
  const columns = curves.map(({ lines, field }) => {
    const points = lines.filter((line) => typeof line[field] === "number" && typeof line[axis] === "number" && (!log || line[field]! > 0));
    const stride = Math.ceil(points.length / MOST);
    const kept = stride > 1 ? points.filter((_, i) => i % stride === 0 || i === points.length - 1) : points;
    return new Map(kept.map((line) => [line[axis]!, line[field]!]));
  });
  const places = [...new Set(columns.flatMap((column) => [...column.keys()]))].sort((a, b) => a - b);
  return [places, ...columns.map((column) => places.map((place) => column.get(place) ?? undefined))] as uPlot.AlignedData;
}

export function Curves({ title, curves, axis, log = false, theme, height = HEIGHT }: { title: string; curves: Curve[]; axis: Axis; log?: boolean; theme: string; height?: number }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shape = JSON.stringify([curves.map((curve) => [curve.label, curve.field, curve.dots, curve.lines.length < 3]), axis, log, theme, height]);
  const data = table(curves, axis, log);
  useEffect(() => {
    const host = place.current!;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axes: uPlot.Axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    const options: uPlot.Options = {
      width: host.clientWidth,
      height,
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [
        { ...axes, values: (_, values) => values.map(number) },
        { ...axes, size: 58, values: (_, values) => values.map((value) => (value === null ? "" : number(value))) },
      ],
      series: [
        { label: axis, value: (_, value) => number(value) },
        ...curves.map((curve, i) => ({
          label: curve.label,
          stroke: colour(COLOURS[i % COLOURS.length]),
          width: curve.dots ? 0 : 1.75,
          spanGaps: true,
          points: curve.dots ? { show: true, size: 7, fill: colour(COLOURS[i % COLOURS.length]) } : { show: curve.lines.filter((line) => typeof line[curve.field] === "number").length < 3 },
          value: (_: uPlot, value: number | null) => number(value),
        })),
      ],
    };
    const drawn = new uPlot(options, data, host);
    plot.current = drawn;
    const sized = new ResizeObserver(() => drawn.setSize({ width: host.clientWidth, height }));
    sized.observe(host);
    return () => {
      sized.disconnect();
      drawn.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data), [data]);
  const last = curves.map((curve) => `${curve.label}: ${number(curve.lines.findLast((line) => typeof line[curve.field] === "number")?.[curve.field])}`).join(", ");
  return (
    <figure class="curve">
      <figcaption>{title}</figcaption>
      <div ref={place} role="img" aria-label={`${title}. ${last}`} />
    </figure>
  );
}
