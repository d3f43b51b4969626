/** The runs of the folder, as they are on disk. */

import { useState } from "preact/hooks";
import { ask, at, type RunFacts } from "./api";
import { useAgain } from "./hooks";
import { moment, number, share, span } from "./numbers";
import { Badge, Bar, Trouble } from "./parts";
import { t } from "./words";

function progress(run: RunFacts) {
  if (run.state === "done") return <span class="muted">{run.began && run.ended ? span(run.ended - run.began) : ""}</span>;
  if (run.progress === null || run.progress === undefined) return <span class="muted">{run.state === "running" ? (run.stage ?? "…") : ""}</span>;
  return (
    <span class="progress">
      <Bar share={run.progress} label={t("progress")} /> {share(run.progress)}
    </span>
  );
}

function result(run: RunFacts) {
  const [first] = run.measurements;
  if (first) return `${first.name} ${number(first.value)}`;
  if (run.reason) return run.reason;
  const losses = Object.entries(run.last).filter(([name, value]) => /loss$|return$/.test(name) && value !== null);
  return losses.length ? `${losses[0][0].replaceAll("_", " ")} ${number(losses[0][1])}` : "";
}

export function RunsView() {
  const [runs, setRuns] = useState<RunFacts[] | null>(null);
  const [chosen, setChosen] = useState<string[]>([]);
  const failed = useAgain(async () => setRuns((await ask<RunFacts[]>("/ui/runs")).sort((a, b) => (b.began ?? Infinity) - (a.began ?? Infinity))), 2000, []);
  const choose = (name: string) => setChosen(chosen.includes(name) ? chosen.filter((other) => other !== name) : [...chosen, name].slice(-2));
  return (
    <main>
      <header class="row">
        <h1>{t("runs")}</h1>
        <span class="grow" />
        <a class={chosen.length === 2 ? "button" : "button off"} aria-disabled={chosen.length !== 2} title={t("chooseTwo")} href={chosen.length === 2 ? `#/compare/${at(...chosen)}` : undefined}>
          {t("compareChosen")}
        </a>
        <a class="button strong" href="#/build">
          {t("newRun")}
        </a>
      </header>
      <Trouble failed={failed} />
      {runs && !runs.length && <p class="empty">{t("noRuns")}</p>}
      {runs && runs.length > 0 && (
        <div class="scroll">
          <table class="list">
            <thead>
              <tr>
                <th />
                <th>{t("name")}</th>
                <th>{t("state")}</th>
                <th>{t("progress")}</th>
                <th>{t("result")}</th>
                <th>{t("began")}</th>
              </tr>
            </thead>
            <tbody>
              {runs.map((run) => (
                <tr key={run.name}>
                  <td>
                    <input type="checkbox" aria-label={`${t("compareChosen")}: ${run.name}`} disabled={run.state !== "done"} checked={chosen.includes(run.name)} onChange={() => choose(run.name)} />
                  </td>
                  <td>
                    <a href={`#/runs/${at(run.name)}`}>{run.name}</a>
                  </td>
                  <td>
                    <Badge state={run.state} />
                  </td>
                  <td>{progress(run)}</td>
                  <td class="wide">{result(run)}</td>
                  <td class="muted">{moment(run.began)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </main>
  );
}
