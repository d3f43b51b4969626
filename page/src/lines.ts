/** A run's metrics, followed as they are written. What is already here is kept; where the log was rewound, it is read anew. */

import { useRef, useState } from "preact/hooks";
import { ask, at, type Failed, type Line } from "./api";
import { useAgain } from "./hooks";

interface Piece {
  mark: string;
  after: number;
  anew: boolean;
  more: boolean;
  lines: Line[];
}

export function useLines(name: string, every: number): [Line[], Failed | null] {
  const known = useRef<{ name: string; mark: string; after: number; lines: Line[] }>({ name, mark: "", after: 0, lines: [] });
  const [lines, setLines] = useState<Line[]>([]);
  const failed = useAgain(
    async () => {
      if (known.current.name !== name) known.current = { name, mark: "", after: 0, lines: [] };
      for (let more = true; more; ) {
        const { mark, after, lines: old } = known.current;
        const piece = await ask<Piece>(`/ui/runs/${at(name)}/lines/metrics?after=${after}&mark=${encodeURIComponent(mark)}`);
        if (known.current.name !== name) return;
        known.current = { name, mark: piece.mark, after: piece.after, lines: piece.anew ? piece.lines : piece.lines.length ? [...old, ...piece.lines] : old };
        more = piece.more;
      }
      setLines(known.current.lines);
    },
    every,
    [name],
  );
  return [lines, failed];
}

const AXES = new Set(["step", "seconds", "units", "progress"]);

/** Which numbers there are curves of: those that are fallen short of first, the machine's last. */
export function fields(lines: Line[]): { losses: string[]; others: string[] } {
  const seen = new Set(lines.flatMap((line) => Object.keys(line).filter((name) => !AXES.has(name) && typeof line[name] === "number")));
  const losses = [...seen].filter((name) => name.endsWith("loss"));
  return { losses, others: [...seen].filter((name) => !name.endsWith("loss")) };
}
