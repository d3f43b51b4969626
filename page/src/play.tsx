/** Playing with the models that are loaded: each task's own way of asking where it has one, else a form made from its schema. */

import { useEffect, useState } from "preact/hooks";
import { ask, at, type Failed, type ModelFacts, type Schema } from "./api";
import { Answer, Bars, Boxes } from "./answer";
import { colourOf, Drawing, type Grid } from "./draw";
import { PictureEvidence, TextEvidence, Wanted } from "./evidence";
import { Section, type Around } from "./fields";
import { useAgain } from "./hooks";
import { Labelled, Tabs, Trouble } from "./parts";
import { t } from "./words";
import { Chat, Completion } from "./write";

type Plain = Record<string, unknown>;

function useAsking(model: ModelFacts) {
  const [answer, setAnswer] = useState<Plain | null>(null);
  const [failed, setFailed] = useState<Failed | null>(null);
  const [busy, setBusy] = useState(false);
  async function put(fields: Plain) {
    setBusy(true);
    try {
      setAnswer(await ask<Plain>(`/predict/${at(model.task)}?model=${encodeURIComponent(model.name)}`, fields));
      setFailed(null);
    } catch (error) {
      setFailed(error as Failed);
    }
    setBusy(false);
  }
  return { answer, failed, busy, put, forget: () => setAnswer(null) };
}

function Asking({ put, ready, busy, children }: { put: () => void; ready: boolean; busy: boolean; children: preact.ComponentChildren }) {
  return (
    <form
      class="panel"
      onSubmit={(event) => {
        event.preventDefault();
        if (ready && !busy) put();
      }}
    >
      {children}
      <div class="row">
        <button class="strong" disabled={!ready || busy}>
          {t("ask")}
        </button>
      </div>
    </form>
  );
}

function Given({ answer, failed }: { answer: Plain | null; failed: Failed | null }) {
  return (
    <div aria-live="polite">
      <Trouble failed={failed} />
      {answer && !failed && (
        <div class="panel">
          <h2>{t("answer")}</h2>
          <Answer answer={answer} />
        </div>
      )}
    </div>
  );
}

function Fill({ model }: { model: ModelFacts }) {
  const [text, setText] = useState("");
  const { answer, failed, busy, put } = useAsking(model);
  const fillings = (answer?.fillings ?? []) as [string, number][][];
  return (
    <>
      <Asking put={() => put({ text, choices: 8 })} ready={text.includes("<mask>")} busy={busy}>
        <Labelled title={t("maskHint")}>
          <textarea rows={3} value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </Labelled>
        <p>
          <button type="button" onClick={() => setText(`${text}<mask>`)}>
            + &lt;mask&gt;
          </button>
        </p>
      </Asking>
      <Trouble failed={failed} />
      {answer && model.evidence.length > 0 && text.includes("<mask>") && <Wanted>{() => <TextEvidence model={model} about={{ text }} />}</Wanted>}
      <div class="grid" aria-live="polite">
        {fillings.map((row, i) => (
          <div class="panel">
            <h2>
              {t("masked")} {i + 1}
            </h2>
            <Bars shares={row.map(([token, share]) => [JSON.stringify(token).slice(1, -1) || "∅", share])} />
          </div>
        ))}
      </div>
    </>
  );
}

function Look({ model }: { model: ModelFacts }) {
  const [pixels, setPixels] = useState<Grid | null>(null);
  const [more, setMore] = useState<Plain>({});
  const { answer, failed, busy, put, forget } = useAsking(model);
  const others = Object.keys(model.input.properties ?? {}).filter((name) => !["pixels", "data", "path"].includes(name) && !model.files.includes(name));
  const around: Around = { root: model.input, problems: new Map(), unfit: {} };
  useEffect(() => {
    if (pixels && !others.length) put({ pixels });
    else forget();
  }, [pixels]);
  return (
    <div class="halves">
      <div class="panel">
        <Drawing model={model} changed={setPixels} />
        {others.length > 0 && (
          <>
            <Section schema={{ ...model.input, properties: Object.fromEntries(others.map((name) => [name, model.input.properties![name]])) }} value={more} change={(next) => setMore(next as Plain)} place={[]} around={around} />
            <button type="button" class="strong" disabled={!pixels || busy} onClick={() => put({ pixels, ...more })}>
              {t("ask")}
            </button>
          </>
        )}
      </div>
      <div>
        {pixels && answer && Array.isArray(answer.boxes) && (
          <div class="panel">
            <Boxes rows={pixels.length} columns={pixels[0].length} colour={colourOf(pixels)} boxes={answer.boxes as number[][]} labels={answer.labels as string[]} />
          </div>
        )}
        <Given answer={answer} failed={failed} />
        {pixels && answer && model.evidence.length > 0 && <Wanted>{() => <PictureEvidence model={model} pixels={pixels} />}</Wanted>}
      </div>
    </div>
  );
}

function RowForm({ model, names }: { model: ModelFacts; names: string[] }) {
  const [values, setValues] = useState<Record<string, string>>({});
  const { answer, failed, busy, put } = useAsking(model);
  const numbers = Object.fromEntries(names.map((name) => [name, values[name]?.trim() ? Number(values[name]) : 0]));
  const wrong = (name: string) => !Number.isFinite(numbers[name]);
  function paste(text: string) {
    const found = text.split(/[\s,;]+/).filter(Boolean);
    setValues(Object.fromEntries(names.map((name, i) => [name, found[i] ?? ""])));
  }
  return (
    <div class="halves">
      <Asking put={() => put({ columns: numbers })} ready={!names.some(wrong)} busy={busy}>
        <Labelled title={t("paste")}>
          <input onInput={(event) => paste(event.currentTarget.value)} />
        </Labelled>
        <div class="columns">
          {names.map((name) => (
            <label class="labelled">
              <span>{name}</span>
              <input inputMode="decimal" placeholder="0" aria-invalid={wrong(name)} value={values[name] ?? ""} onInput={(event) => setValues({ ...values, [name]: event.currentTarget.value })} />
            </label>
          ))}
        </div>
      </Asking>
      <Given answer={answer} failed={failed} />
    </div>
  );
}

/** Any task at all; a label is one of those the model knows. */
function Form({ model }: { model: ModelFacts }) {
  const [fields, setFields] = useState<Plain>({});
  const { answer, failed, busy, put } = useAsking(model);
  const around: Around = { root: model.input, problems: new Map(), unfit: {} };
  const known: Record<string, Schema> = model.known.labels?.length && model.input.properties?.label ? { label: { ...model.input.properties.label, enum: model.known.labels } } : {};
  return (
    <div class="halves">
      <Asking put={() => put(fields)} ready={true} busy={busy}>
        <p class="about">{model.input.description}</p>
        <Section schema={{ ...model.input, properties: { ...model.input.properties, ...known } }} value={fields} change={(next) => setFields(next as Plain)} place={[]} around={around} hidden={model.files} />
      </Asking>
      <div>
        <Given answer={answer} failed={failed} />
        {answer && model.evidence.length > 0 && typeof fields.text === "string" && !fields.second && <Wanted>{() => <TextEvidence model={model} about={{ text: fields.text as string }} />}</Wanted>}
      </div>
    </div>
  );
}

function Panel({ model }: { model: ModelFacts }) {
  const [tab, setTab] = useState(model.chat ? "chat" : "completion");
  if (model.task === "text-generation" && model.writes)
    return (
      <>
        {model.chat && (
          <Tabs
            chosen={tab}
            choose={setTab}
            names={[
              ["chat", t("chat")],
              ["completion", t("completion")],
            ]}
          />
        )}
        {tab === "chat" ? <Chat model={model} /> : <Completion model={model} />}
      </>
    );
  if (model.task === "fill-mask") return <Fill model={model} />;
  if (model.input.properties?.pixels) return <Look model={model} />;
  if (model.input.properties?.columns && model.known.names) return <RowForm model={model} names={model.known.names} />;
  return <Form model={model} />;
}

export function PlayView({ name, whole }: { name: string | undefined; whole: boolean }) {
  const [models, setModels] = useState<ModelFacts[] | null>(null);
  const [gone, setGone] = useState<Failed | null>(null);
  const failed = useAgain(async () => setModels(await ask<ModelFacts[]>("/ui/models")), 5000, [name, gone]);
  const model = models?.find((each) => each.name === name) ?? models?.[0];
  async function unload() {
    try {
      await ask(`/ui/models/${at(model!.name)}`, undefined, { method: "DELETE" });
      setModels((models ?? []).filter((each) => each.name !== model!.name));
      window.location.hash = "#/play";
    } catch (error) {
      setGone(error as Failed);
    }
  }
  return (
    <main>
      <header class="row">
        <h1>{t("playground")}</h1>
        <span class="grow" />
        {models && models.length > 0 && (
          <Labelled title={t("model")}>
            <select value={model?.name} onChange={(event) => (window.location.hash = `#/play/${at(event.currentTarget.value)}`)}>
              {models.map((each) => (
                <option value={each.name}>
                  {each.name} · {each.task}
                </option>
              ))}
            </select>
          </Labelled>
        )}
        {whole && model && (
          <button type="button" onClick={unload}>
            {t("unload")}
          </button>
        )}
      </header>
      <Trouble failed={failed ?? gone} />
      {models && !models.length && <p class="empty">{t("noModels")}</p>}
      {model && <Panel key={model.name} model={model} />}
    </main>
  );
}
