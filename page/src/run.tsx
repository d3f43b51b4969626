/** One run: its curves as they grow, what it left behind, and the buttons that stop it and let it go on. */

import { useState } from "preact/hooks";
import { ask, at, Failed, type Line, type Run } from "./api";
import { AxisChoice, Curves, type Axis } from "./curve";
import { useAgain } from "./hooks";
import { fields, useLines } from "./lines";
import { Markdown } from "./markdown";
import { number, share, span } from "./numbers";
import { Badge, Bar, Command, Picture, Tabs, Trouble } from "./parts";
import { t } from "./words";

function Learning({ run, lines, theme }: { run: Run; lines: Line[]; theme: string }) {
  const [axis, setAxis] = useState<Axis>("step");
  const [log, setLog] = useState(false);
  const { losses, others } = fields(lines);
  if (!losses.length && !others.length) return <p class="empty">{run.state === "running" ? `${run.stage ?? ""} …` : t("noCurves")}</p>;
  const words = (name: string) => name.replaceAll("_", " ");
  const few = (name: string) => name.startsWith("validation");
  return (
    <>
      <div class="row tools">
        <AxisChoice axis={axis} set={setAxis} />
        <label>
          <input type="checkbox" checked={log} onChange={(event) => setLog(event.currentTarget.checked)} /> {t("log")}
        </label>
      </div>
      {losses.length > 0 && <Curves title={losses.map(words).join(", ")} axis={axis} log={log} theme={theme} curves={losses.map((field) => ({ label: words(field), field, lines, dots: few(field) }))} />}
      <div class="grid">
        {others.map((field) => (
          <Curves key={field} title={words(field)} axis={axis} theme={theme} height={170} curves={[{ label: words(field), field, lines, dots: few(field) }]} />
        ))}
      </div>
    </>
  );
}

function Samples({ run }: { run: Run }) {
  const shown = run.events.filter((event) => event.event === "exhibit");
  if (!shown.length) return <p class="empty">{t("noSamples")}</p>;
  return (
    <ol class="samples">
      {shown.map(({ time, event: _, step, pictures, ...facts }) => (
        <li key={`${time}`}>
          <span class="muted">
            {t("step")} {number(step as number)}
          </span>
          {((pictures ?? []) as string[]).map((which) => (
            <Picture address={`/ui/runs/${at(run.name)}/picture?which=${encodeURIComponent(which)}`} title={`${t("step")} ${number(step as number)}`} />
          ))}
          <dl>
            {Object.entries(facts).map(([name, value]) => (
              <>
                <dt>{name}</dt>
                <dd>
                  <pre>{typeof value === "string" ? value : JSON.stringify(value)}</pre>
                </dd>
              </>
            ))}
          </dl>
        </li>
      ))}
    </ol>
  );
}

function Ledger({ run }: { run: Run }) {
  const costs = run.results?.training ?? {};
  const plain = Object.entries(costs).filter(([, value]) => value !== null && typeof value !== "object");
  return (
    <>
      <h3>{t("ledger")}</h3>
      <table class="facts">
        <tbody>
          {plain.map(([name, value]) => (
            <tr>
              <th>{name.replaceAll("_", " ")}</th>
              <td>{typeof value === "number" ? number(value) : String(value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {(run.results?.data.ledger ?? []).map((entry) => (
        <table class="facts">
          <tbody>
            {Object.entries(entry).map(([name, value]) => (
              <tr>
                <th>{name.replaceAll("_", " ")}</th>
                <td>{typeof value === "object" ? JSON.stringify(value) : String(value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ))}
    </>
  );
}

export function RunView({ name, theme }: { name: string; theme: string }) {
  const [run, setRun] = useState<Run | null>(null);
  const [tab, setTab] = useState("curves");
  const [turn, setTurn] = useState(0);
  const [acted, setActed] = useState<Failed | null>(null);
  const [busy, setBusy] = useState(false);
  const live = run === null || run.state === "running";
  const failed = useAgain(async () => setRun(await ask<Run>(`/ui/runs/${at(name)}`)), live || busy ? 1500 : 5000, [name, turn]);
  const [lines] = useLines(name, live ? 1000 : 5000);

  async function act(what: "stop" | "resume") {
    try {
      setActed(null);
      await ask<{ command: string }>(`/ui/runs/${at(name)}/${what}`, undefined, { method: "POST" });
      setTurn(turn + 1);
    } catch (error) {
      setActed(error as Failed);
    }
  }
  async function play() {
    setBusy(true);
    try {
      setActed(null);
      await ask("/ui/models", { name });
      window.location.hash = `#/play/${at(name)}`;
    } catch (error) {
      setActed(error as Failed);
    }
    setBusy(false);
  }

  if (!run)
    return (
      <main>
        <h1>{name}</h1>
        <Trouble failed={failed} />
      </main>
    );
  const picture = (part: string) => (address: string, title: string) => <Picture address={`/ui/runs/${at(name)}/picture?which=${encodeURIComponent(`${part}/${address}`)}`} title={title} />;
  const tabs: [string, string][] = [
    ["curves", t("curves")],
    ...(run.card ? ([["card", t("card")]] as [string, string][]) : []),
    ...(run.data_card ? ([["data", t("dataCard")]] as [string, string][]) : []),
    ["samples", t("samples")],
    ...(run.pictures.length ? ([["figures", t("figures")]] as [string, string][]) : []),
    ...(run.results ? ([["ledger", t("ledger")]] as [string, string][]) : []),
    ["recipe", t("recipe")],
    ...(run.printed ? ([["printed", t("printed")]] as [string, string][]) : []),
  ];
  return (
    <main>
      <p class="crumb">
        <a href="#/runs">← {t("back")}</a>
      </p>
      <header class="row">
        <h1>{name}</h1>
        <Badge state={run.state} />
        <span class="grow" />
        {run.state === "running" && (
          <button type="button" onClick={() => act("stop")} title={run.commands.stop}>
            {t("stop")}
          </button>
        )}
        {(run.state === "stopped" || run.state === "failed") && (
          <button type="button" class="strong" onClick={() => act("resume")} title={run.commands.run}>
            {t("resume")}
          </button>
        )}
        {run.state === "done" && run.model && (
          <button type="button" class="strong" onClick={play} disabled={busy}>
            {busy ? t("loading") : t("load")}
          </button>
        )}
      </header>
      <Trouble failed={failed ?? acted} />
      {run.reason && <p class="trouble">{run.reason}</p>}
      {run.commands.stop && <Command title={t("stop")} text={run.commands.stop} />}
      {run.state !== "done" && <Command title={run.commands.stop ? t("start") : t("resume")} text={run.commands.run} />}
      <dl class="tiles">
        {run.state === "running" && (
          <div>
            <dt>{t("stage")}</dt>
            <dd>{run.stage ?? "…"}</dd>
          </div>
        )}
        {run.progress !== null && run.progress !== undefined && run.state !== "done" && (
          <div>
            <dt>{t("progress")}</dt>
            <dd>
              {share(run.progress)} <Bar share={run.progress} label={t("progress")} />
            </dd>
          </div>
        )}
        {run.measurements.slice(0, 4).map((found) => (
          <div>
            <dt>{found.name}</dt>
            <dd>
              {number(found.value)}
              {found.low !== null && found.high !== null && (
                <small>
                  {number(found.low)} – {number(found.high)}
                </small>
              )}
            </dd>
          </div>
        ))}
        {run.last.step !== undefined && (
          <div>
            <dt>{t("stepsDone")}</dt>
            <dd>{number(run.last.step)}</dd>
          </div>
        )}
        {typeof run.last.seconds === "number" && (
          <div>
            <dt>{t("time")}</dt>
            <dd>{span(run.last.seconds)}</dd>
          </div>
        )}
      </dl>
      <Tabs names={tabs} chosen={tab} choose={setTab} />
      <section role="tabpanel" aria-labelledby={`tab-${tab}`}>
        {tab === "curves" && <Learning run={run} lines={lines} theme={theme} />}
        {tab === "card" && run.card && <Markdown text={run.card} picture={picture("report")} />}
        {tab === "data" && run.data_card && <Markdown text={run.data_card} picture={picture("data")} />}
        {tab === "samples" && <Samples run={run} />}
        {tab === "figures" && (
          <div class="figures">
            {run.pictures.map((which) => (
              <Picture key={which} address={`/ui/runs/${at(name)}/picture?which=${encodeURIComponent(which)}`} title={which} />
            ))}
          </div>
        )}
        {tab === "ledger" && <Ledger run={run} />}
        {tab === "recipe" && <pre>{run.recipe}</pre>}
        {tab === "printed" && <pre>{run.printed}</pre>}
      </section>
    </main>
  );
}
