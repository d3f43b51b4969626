/** Forms made from JSON Schemas: nothing here knows a recipe or a task. A part that is chosen by its `kind` is a list of names and the chosen one's own form. */

import { useId, useState } from "preact/hooks";
import type { Schema } from "./api";
import { inline } from "./markdown";
import { t } from "./words";

export type Place = (string | number)[];

export interface Around {
  root: Schema;
  /** What is wrong, by place. */
  problems: Map<string, string>;
  /** At a place: name → why it does not fit. */
  unfit: Record<string, Record<string, string[]>>;
}

type Shape =
  | { is: "part"; kinds: Record<string, Schema>; presets: Record<string, Schema>; optional: boolean }
  | { is: "section"; schema: Schema; optional: boolean }
  | { is: "list"; items: Schema; optional: boolean }
  | { is: "choice"; names: (string | number)[]; optional: boolean }
  | { is: "flag"; optional: boolean }
  | { is: "number" | "text" | "long" | "raw"; optional: boolean };

interface Field {
  schema: Schema;
  value: unknown;
  change: (value: unknown) => void;
  place: Place;
  around: Around;
}

function resolved(schema: Schema, root: Schema): Schema {
  if (schema.$ref) return { ...root.$defs![schema.$ref.split("/").pop()!], ...(schema.description ? { description: schema.description } : {}) };
  return schema.allOf?.length === 1 ? { ...resolved(schema.allOf[0], root), description: schema.description } : schema;
}

function ways(schema: Schema, root: Schema): Schema[] {
  const found = resolved(schema, root);
  return found.anyOf ? found.anyOf.flatMap((other) => ways(other, root)) : [found];
}

function shape(schema: Schema, root: Schema): Shape {
  const all = ways(schema, root);
  const optional = all.some((way) => way.type === "null");
  const rest = all.filter((way) => way.type !== "null");
  const parts = rest.filter((way) => way.properties?.kind?.const !== undefined);
  if (parts.length) {
    const [named, plain] = [parts.filter((way) => way.properties!.preset), parts.filter((way) => !way.properties!.preset)];
    return {
      is: "part",
      optional,
      kinds: Object.fromEntries(plain.map((way) => [way.properties!.kind.const as string, way])),
      presets: Object.fromEntries(named.flatMap((way) => way.properties!.preset.enum!.map((name) => [name, way]))),
    };
  }
  if (rest.length && rest.every((way) => way.enum ?? way.const !== undefined)) return { is: "choice", names: rest.flatMap((way) => way.enum ?? [way.const as string]), optional };
  if (rest.length !== 1) return { is: rest.length && rest.every((way) => ["string", "number", "integer"].includes(way.type ?? "")) ? "text" : "raw", optional };
  const [only] = rest;
  if (only.properties) return { is: "section", schema: only, optional };
  if (only.type === "array" && only.items && !only.prefixItems && ["part", "section"].includes(shape(only.items, root).is)) return { is: "list", items: only.items, optional };
  if (only.type === "boolean") return { is: "flag", optional };
  if (only.type === "number" || only.type === "integer") return { is: "number", optional };
  if (only.type === "string") return { is: only.title ? "long" : "text", optional }; // a task's texts have titles, a recipe's names have none
  return { is: "raw", optional };
}

const shown = (value: unknown): string => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

function Single({ schema, value, change, place, around, id }: Field & { id: string }) {
  const form = shape(schema, around.root);
  const otherwise = resolved(schema, around.root).default;
  const [typed, setTyped] = useState<string | null>(null);
  const placeholder = otherwise === undefined ? "" : otherwise === null ? t("none") : shown(otherwise);
  const wrong = around.problems.has(place.join("."));
  if (form.is === "choice" || form.is === "flag") {
    const names: unknown[] = form.is === "flag" ? [true, false] : form.names;
    return (
      <select id={id} aria-invalid={wrong} value={shown(value)} onChange={(event) => change(names.find((name) => shown(name) === event.currentTarget.value))}>
        <option value="">{placeholder ? `${t("unset")}: ${placeholder === "true" ? t("yes") : placeholder === "false" ? t("no") : placeholder}` : ""}</option>
        {names.map((name) => (
          <option value={shown(name)}>{name === true ? t("yes") : name === false ? t("no") : String(name)}</option>
        ))}
      </select>
    );
  }
  if (form.is === "number" || form.is === "text") {
    const read = (text: string): unknown => (text === "" ? undefined : text === "null" && form.optional ? null : form.is === "number" && Number.isFinite(Number(text)) ? Number(text) : text);
    const set = (event: { currentTarget: HTMLInputElement }) => {
      setTyped(event.currentTarget.value);
      change(read(event.currentTarget.value.trim()));
    };
    const now = typed !== null && read(typed.trim()) === value ? typed : shown(value);
    return <input id={id} aria-invalid={wrong} inputMode={form.is === "number" ? "decimal" : "text"} placeholder={placeholder} value={now} onInput={set} spellcheck={false} />;
  }
  if (form.is === "long") return <textarea id={id} aria-invalid={wrong} rows={2} value={shown(value)} placeholder={placeholder} onInput={(event) => change(event.currentTarget.value || undefined)} />;
  const now = typed ?? shown(value);
  let broken = false;
  try {
    if (typed) JSON.parse(typed);
  } catch {
    broken = true;
  }
  return (
    <input
      id={id}
      class="mono"
      aria-invalid={wrong || broken}
      placeholder={placeholder || (ways(schema, around.root).some((way) => way.type === "array") ? "[ … ]" : "{ … }")}
      value={now}
      spellcheck={false}
      onBlur={() => !broken && setTyped(null)}
      onInput={(event) => {
        const text = event.currentTarget.value;
        setTyped(text);
        try {
          change(text.trim() ? JSON.parse(text) : undefined);
        } catch {
          /* half typed: it counts when it is whole */
        }
      }}
    />
  );
}

function Unfit({ names }: { names: [string, string[]][] }) {
  if (!names.length) return null;
  return (
    <details class="unfit">
      <summary>
        {t("unfit")} ({names.length})
      </summary>
      <ul>
        {names.map(([name, reasons]) => (
          <li>
            <code>{name}</code> {reasons.join("; ")}
          </li>
        ))}
      </ul>
    </details>
  );
}

function Part({ schema, value, change, place, around, id }: Field & { id: string }) {
  const form = shape(schema, around.root);
  if (form.is !== "part") return null;
  if (Array.isArray(value)) return <Single schema={{}} value={value} change={change} place={place} around={around} id={id} />;
  const fields = (typeof value === "string" ? (value in form.presets ? { preset: value } : { kind: value }) : (value ?? {})) as Record<string, unknown>;
  const chosen = (fields.preset ?? fields.kind) as string | undefined;
  const own = chosen === undefined ? null : fields.preset !== undefined ? form.presets[chosen] : form.kinds[chosen];
  const otherwise = resolved(schema, around.root).default;
  const unfit = around.unfit[place.join(".")] ?? {};
  const reasons = (name: string): string[] => unfit[(form.presets[name]?.properties?.kind.const as string) ?? name] ?? [];
  const option = (name: string) => (
    <option value={name} disabled={reasons(name).length > 0 && name !== chosen} title={reasons(name).join("; ") || (form.presets[name] ?? form.kinds[name]).description}>
      {name}
    </option>
  );
  const choose = (name: string) => change(name === "" ? undefined : name in form.presets ? { preset: name } : { kind: name });
  const left = otherwise === undefined ? t("choose") : `${t("unset")}: ${otherwise === null ? t("none") : typeof otherwise === "object" ? (otherwise as { kind?: string }).kind : otherwise}`;
  return (
    <div class="part">
      <select id={id} aria-invalid={around.problems.has(place.join("."))} value={chosen ?? ""} onChange={(event) => choose(event.currentTarget.value)} title={own?.description}>
        <option value="">{left}</option>
        {Object.keys(form.presets).length > 0 ? (
          <>
            <optgroup label="presets">{Object.keys(form.presets).map(option)}</optgroup>
            <optgroup label="kinds">{Object.keys(form.kinds).map(option)}</optgroup>
          </>
        ) : (
          Object.keys(form.kinds).map(option)
        )}
      </select>
      <Unfit names={Object.entries(unfit).filter(([, why]) => why.length)} />
      {own && <Section schema={own} value={fields} change={change} place={place} around={around} hidden={["kind", "preset"]} />}
    </div>
  );
}

function List({ items, value, change, place, around }: { items: Schema; value: unknown; change: (value: unknown) => void; place: Place; around: Around }) {
  const all = Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
  const set = (next: unknown[]) => change(next.length ? next : undefined);
  return (
    <div class="entries">
      {all.map((each, i) => (
        <div class="entry">
          <Control schema={items} value={each} change={(next) => set(all.map((old, at) => (at === i ? (next ?? {}) : old)))} place={[...place, i]} around={around} />
          <button type="button" class="plain" aria-label={`${t("remove")} ${i + 1}`} title={t("remove")} onClick={() => set(all.filter((_, at) => at !== i))}>
            ×
          </button>
        </div>
      ))}
      <button type="button" class="plain" onClick={() => set([...all, {}])}>
        + {t("add")}
      </button>
    </div>
  );
}

function Control(props: Field & { id?: string }) {
  const made = useId();
  const id = props.id ?? made;
  const form = shape(props.schema, props.around.root);
  if (form.is === "part") return <Part {...props} id={id} />;
  if (form.is === "section" && (props.value === undefined || props.value === null || (typeof props.value === "object" && !Array.isArray(props.value))))
    return <Section schema={form.schema} value={(props.value ?? {}) as Record<string, unknown>} change={props.change} place={props.place} around={props.around} />;
  if (form.is === "list") return <List items={form.items} value={props.value} change={props.change} place={props.place} around={props.around} />;
  return <Single {...props} id={id} />;
}

function Row({ name, field, required, ...props }: Field & { name: string; field: Schema; required: boolean }) {
  const id = useId();
  const form = shape(field, props.around.root);
  const wide = ["part", "section", "list"].includes(form.is);
  const problem = props.around.problems.get(props.place.join("."));
  const about = resolved(field, props.around.root).description;
  return (
    <div class={wide ? "field wide" : "field"}>
      <label for={id} title={about}>
        {name}
        {required && <span aria-hidden="true"> *</span>}
      </label>
      <div>
        {wide && about && <p class="about">{inline(about)}</p>}
        <Control {...props} schema={field} id={id} />
        {problem && <p class="problem">{problem}</p>}
      </div>
    </div>
  );
}

/** The fields of one mapping: those that are said or must be first, the others below. */
export function Section({ schema, value, change, place, around, hidden = [] }: Omit<Field, "value"> & { value: Record<string, unknown>; hidden?: string[] }) {
  const names = Object.keys(schema.properties ?? {}).filter((name) => !hidden.includes(name));
  const problem = (name: string) => [...around.problems.keys()].some((key) => key === [...place, name].join(".") || key.startsWith(`${[...place, name].join(".")}.`));
  const seen = (name: string) => name in value || (schema.required ?? []).includes(name) || problem(name);
  const set = (name: string, next: unknown) => {
    const { [name]: _, ...rest } = value;
    change(next === undefined ? rest : Object.fromEntries(Object.entries({ ...value, [name]: next })));
  };
  const row = (name: string) => (
    <Row
      key={name}
      name={name}
      field={schema.properties![name]}
      schema={schema.properties![name]}
      required={(schema.required ?? []).includes(name)}
      value={value[name]}
      change={(next) => set(name, next)}
      place={[...place, name]}
      around={around}
    />
  );
  const [first, more] = [names.filter(seen), names.filter((name) => !seen(name))];
  return (
    <div class="section">
      {first.map(row)}
      {more.length > 0 && (
        <details class="more" open={!first.length && more.length < 6}>
          <summary>
            {more.length} {t("more")}
          </summary>
          {more.map(row)}
        </details>
      )}
    </div>
  );
}
