/** A recipe, as a form made from its schema and as YAML beside it; what is wrong with it and what it would cost, as one types. */

import { useEffect, useState } from "preact/hooks";
import { ask, at, type Failed, type Schema } from "./api";
import { Section, type Around } from "./fields";
import { useOnce, useRested } from "./hooks";
import { inline } from "./markdown";
import { Command, Labelled, Trouble } from "./parts";
import { t } from "./words";
import { yaml } from "./yaml";

interface Checked {
  recipe: Record<string, unknown> | null;
  problems: { path: (string | number)[]; message: string }[];
  reasons: string[];
  architectures: Record<string, string[]>;
  objectives: Record<string, string[]>;
}

interface Planned {
  plan: { fits: boolean; verdict: string };
  shown: string;
}

const KEPT = "ftheta-recipe";

export function BuildView() {
  const [schema, schemaFailed] = useOnce<Schema>("/ui/schema");
  const [recipes] = useOnce<{ name: string; about: string }[]>("/ui/recipes");
  const [folder] = useOnce<{ folder: string }>("/ui/folder");
  const [text, setText] = useState(() => sessionStorage.getItem(KEPT) ?? "");
  const [recipe, setRecipe] = useState<Record<string, unknown> | null>(null);
  const [checked, setChecked] = useState<Checked | null>(null);
  const [looking, setLooking] = useState(false);
  const [plan, setPlan] = useState<Planned | null>(null);
  const [planning, setPlanning] = useState(false);
  const [failed, setFailed] = useState<Failed | null>(null);
  const [starting, setStarting] = useState(false);

  function change(next: Record<string, unknown>) {
    setRecipe(next);
    setText(yaml(next));
  }
  async function begin(name: string) {
    try {
      setFailed(null);
      if (!name) return;
      change(await ask<Record<string, unknown>>(`/ui/recipes/${at(name)}`));
      window.scrollTo(0, 0);
    } catch (error) {
      setFailed(error as Failed);
    }
  }
  useEffect(() => {
    sessionStorage.setItem(KEPT, text);
    setLooking(!!text.trim());
    setPlan(null);
  }, [text]);
  useRested(text, 350, async (signal) => {
    if (!text.trim()) return;
    try {
      const found = await ask<Checked>("/ui/check", { recipe: text }, { signal });
      setChecked(found);
      setLooking(false);
      setFailed(null);
      if (found.recipe) setRecipe(found.recipe);
    } catch (error) {
      if (!signal.aborted) setFailed(error as Failed);
    }
  });
  const whole = !!checked && !looking && !checked.problems.length && !checked.reasons.length && !!recipe;
  useRested(whole ? text : "", 600, async (signal) => {
    if (!whole) return;
    setPlanning(true);
    try {
      setPlan(await ask<Planned>("/ui/plan", { recipe: text }, { signal }));
      setFailed(null);
    } catch (error) {
      if ((error as Failed).code !== "outdated" && !signal.aborted) setFailed(error as Failed);
    }
    if (!signal.aborted) setPlanning(false);
  });
  async function start() {
    setStarting(true);
    try {
      await ask<{ command: string }>("/ui/runs", { name: String(recipe!.name), recipe: text });
      sessionStorage.removeItem(KEPT);
      window.location.hash = `#/runs/${at(String(recipe!.name))}`;
    } catch (error) {
      setFailed(error as Failed);
      setStarting(false);
    }
  }

  const problems = new Map((checked?.problems ?? []).map((problem) => [problem.path.join("."), problem.message]));
  const around: Around = { root: schema ?? {}, problems, unfit: { model: checked?.architectures ?? {}, objective: checked?.objectives ?? {} } };
  const form = schema?.else;
  const command = `ftheta run ${folder?.folder ?? "runs"}/${recipe?.name ?? "NAME"}.yaml --out ${folder?.folder ?? "runs"}/${recipe?.name ?? "NAME"}`;
  return (
    <main class="builder">
      <header class="row">
        <h1>{t("builder")}</h1>
        <span class="grow" />
        <Labelled title={t("startFrom")}>
          <select value="" onChange={(event) => begin(event.currentTarget.value)}>
            <option value="">{t("choose")}</option>
            {(recipes ?? []).map((each) => (
              <option value={each.name} title={each.about}>
                {each.name}
              </option>
            ))}
          </select>
        </Labelled>
      </header>
      <Trouble failed={schemaFailed} />
      <div class="halves">
        <div class="panel form">
          {form && recipe ? (
            <Section
              schema={{ ...form, properties: Object.fromEntries(Object.entries(form.properties!).filter(([name]) => name !== "format")) }}
              value={recipe}
              change={(next) => change(next as Record<string, unknown>)}
              place={[]}
              around={around}
            />
          ) : form ? (
            <ul class="recipes">
              {(recipes ?? []).map((each) => (
                <li>
                  <button type="button" class="plain" onClick={() => begin(each.name)}>
                    {each.name}
                  </button>
                  <span class="muted">{inline(each.about)}</span>
                </li>
              ))}
            </ul>
          ) : (
            <p class="empty">{t("loading")}</p>
          )}
        </div>
        <div class="beside">
          <textarea
            class="yaml"
            aria-label={t("edit")}
            spellcheck={false}
            value={text}
            rows={Math.min(34, Math.max(12, text.split("\n").length + 1))}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          <div class="panel" aria-live="polite">
            {!text.trim() ? null : looking || !checked ? (
              <p class="muted">{t("checking")}</p>
            ) : whole ? (
              <p class="well">{t("fits")}</p>
            ) : (
              <>
                <h2>{t("problems")}</h2>
                <ul class="problems">
                  {checked.problems.map((problem) => (
                    <li>
                      {problem.path.length > 0 && <code>{problem.path.join(".")}</code>} {problem.message}
                    </li>
                  ))}
                  {checked.reasons.map((reason) => (
                    <li>{reason}</li>
                  ))}
                </ul>
              </>
            )}
            <h2>{t("estimate")}</h2>
            {plan ? (
              <>
                <p class={plan.plan.fits ? "well" : "trouble"}>{plan.plan.verdict}</p>
                <pre class="plan">{plan.shown}</pre>
              </>
            ) : (
              <p class="muted">{!whole ? t("noEstimate") : planning ? t("estimating") : "–"}</p>
            )}
          </div>
          <Trouble failed={failed} />
          <Command text={command} />
          <button type="button" class="strong large" disabled={!whole || starting} onClick={start}>
            {t("start")}
          </button>
        </div>
      </div>
    </main>
  );
}
