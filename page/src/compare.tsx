/** Two finished runs side by side: intervals, paired differences, curves, the tables of `ftheta compare`. */

import { useEffect, useState } from "preact/hooks";
import { ask, type Failed, type Measurement } from "./api";
import { AxisChoice, Curves, type Axis } from "./curve";
import { fields, useLines } from "./lines";
import { number } from "./numbers";
import { Command, Trouble } from "./parts";
import { t } from "./words";

interface Pairing {
  measurement: string;
  first: string;
  second: string;
  unit: string;
  reason: string;
  difference?: number;
  low?: number | null;
  high?: number | null;
  n?: number;
  verdict?: string;
}

interface Comparison {
  runs: string[];
  sections: { title: string; rows: [string, string[]][] }[];
  measurements: (Measurement & { run: string })[];
  pairings: Pairing[];
  notes: string[];
}

/** Each measurement's value and interval on one scale. */
function Intervals({ found }: { found: Comparison }) {
  const names = [...new Set(found.measurements.map((entry) => entry.name))];
  return (
    <div class="intervals">
      {names.map((name) => {
        const entries = found.measurements.filter((entry) => entry.name === name);
        const ends = entries.flatMap((entry) => [entry.low ?? entry.value, entry.high ?? entry.value]);
        const [low, high] = [Math.min(...ends), Math.max(...ends)];
        const place = (value: number) => `${4 + 92 * (high > low ? (value - low) / (high - low) : 0.5)}%`;
        return (
          <div class="measure">
            <h3>{name}</h3>
            {entries.map((entry) => (
              <div class="interval">
                <span>{entry.run}</span>
                <span class={`track run-${found.runs.indexOf(entry.run) + 1}`} aria-hidden="true">
                  {entry.low !== null && entry.high !== null && <i style={{ left: place(entry.low), right: `calc(100% - ${place(entry.high)})` }} />}
                  <b style={{ left: place(entry.value) }} />
                </span>
                <span class="figures">
                  {number(entry.value)} <small>{entry.low !== null && entry.high !== null ? `${number(entry.low)} – ${number(entry.high)}` : ""}</small>
                </span>
              </div>
            ))}
          </div>
        );
      })}
    </div>
  );
}

export function CompareView({ names, theme }: { names: string[]; theme: string }) {
  const [found, setFound] = useState<Comparison | null>(null);
  const [failed, setFailed] = useState<Failed | null>(null);
  const [folder, setFolder] = useState("runs");
  const [axis, setAxis] = useState<Axis>("seconds");
  const [first] = useLines(names[0], 60_000);
  const [second] = useLines(names[1], 60_000);
  useEffect(() => {
    setFound(null);
    setFailed(null);
    ask<Comparison>("/ui/compare", { runs: names }).then(setFound, setFailed);
    ask<{ folder: string }>("/ui/folder").then((answer) => setFolder(answer.folder), () => undefined);
  }, [names.join("/")]);
  const shared = [...new Set([...fields(first).losses, ...fields(second).losses])];
  return (
    <main>
      <p class="crumb">
        <a href="#/runs">← {t("back")}</a>
      </p>
      <h1>{names.join(" · ")}</h1>
      <Command text={`ftheta compare ${names.map((name) => `${folder}/${name}`).join(" ")}`} />
      <Trouble failed={failed} />
      {!found && !failed && <p class="empty">{t("loading")}</p>}
      {found && (
        <>
          <h2>{t("intervals")}</h2>
          <Intervals found={found} />
          {found.pairings.length > 0 && (
            <>
              <h2>{t("differences")}</h2>
              <div class="scroll">
                <table>
                  <thead>
                    <tr>
                      <th>{t("measure")}</th>
                      <th>{t("difference")}</th>
                      <th>{t("interval")}</th>
                      <th>{t("verdict")}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {found.pairings.map((pair) => (
                      <tr>
                        <td>
                          {pair.measurement} <small>{`${pair.first} − ${pair.second}`}</small>
                        </td>
                        <td>{pair.difference === undefined ? "–" : number(pair.difference)}</td>
                        <td class="muted">{pair.low === undefined ? pair.reason : `${number(pair.low)} – ${number(pair.high)}`}</td>
                        <td>{pair.verdict}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            </>
          )}
          {shared.length > 0 && (
            <>
              <div class="row tools">
                <h2>{t("curves")}</h2>
                <span class="grow" />
                <AxisChoice axis={axis} set={setAxis} />
              </div>
              {shared.map((field) => (
                <Curves
                  key={field}
                  title={field.replaceAll("_", " ")}
                  axis={axis}
                  theme={theme}
                  curves={[first, second].map((lines, i) => ({ label: names[i], lines, field }))}
                />
              ))}
            </>
          )}
          {found.sections
            .filter((section) => section.rows.length)
            .map((section) => (
              <>
                {section.title && <h2>{section.title}</h2>}
                <div class="scroll">
                  <table>
                    <thead>
                      <tr>
                        <th />
                        {found.runs.map((run) => (
                          <th>{run}</th>
                        ))}
                      </tr>
                    </thead>
                    <tbody>
                      {section.rows.map(([name, cells]) => (
                        <tr>
                          <td>{name}</td>
                          {cells.map((cell) => (
                            <td>{cell}</td>
                          ))}
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
              </>
            ))}
          {found.notes.length > 0 && (
            <>
              <h2>{t("notes")}</h2>
              <ul>
                {found.notes.map((note) => (
                  <li>{note}</li>
                ))}
              </ul>
            </>
          )}
        </>
      )}
    </main>
  );
}
