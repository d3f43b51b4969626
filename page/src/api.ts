/** What is asked of the server. Errors have OpenAI's shape: {"error": {"message", "param", ...}}. */

const KEY = "ftheta-key";

export class Failed extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null = null,
  ) {
    super(message);
  }
}

export function setKey(key: string): void {
  sessionStorage.setItem(KEY, key);
}

/** The answer, or Failed: with status 0 where the server cannot be reached. */
export async function send(path: string, body?: unknown, more: RequestInit = {}): Promise<Response> {
  const key = sessionStorage.getItem(KEY);
  const headers: Record<string, string> = { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
  const asked: RequestInit = { headers, ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }), ...more };
  let answer: Response;
  try {
    answer = await fetch(path, asked);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Failed(0, "the server cannot be reached");
  }
  if (answer.status === 401) window.dispatchEvent(new Event("ftheta-key"));
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw new Failed(answer.status, said?.error?.message ?? answer.statusText, said?.error?.code ?? null);
  }
  return answer;
}

export async function ask<T>(path: string, body?: unknown, more?: RequestInit): Promise<T> {
  return (await send(path, body, more)).json();
}

/** The objects of a stream of server-sent events, as they come. */
export async function* events<T>(path: string, body: unknown, signal: AbortSignal): AsyncGenerator<T> {
  const answer = await send(path, body, { signal });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop()!;
    for (const part of parts) {
      const text = part.replace(/^data: /, "");
      if (text === "[DONE]") return;
      const found = JSON.parse(text);
      if (found.error) throw new Failed(500, found.error.message, found.error.code);
      yield found as T;
    }
  }
}

export const at = (...parts: string[]): string => parts.map(encodeURIComponent).join("/");

export type State = "running" | "done" | "stopped" | "failed";

export interface Measurement {
  name: string;
  value: number;
  low: number | null;
  high: number | null;
  n: number;
  unit: string;
  better: string;
}

export type Line = Record<string, number | null>;

export interface RunFacts {
  name: string;
  state: State;
  stage: string | null;
  began: number | null;
  ended: number | null;
  reason: string | null;
  last: Line;
  progress: number | null;
  measurements: Measurement[];
  task: string | null;
  model: boolean;
}

export interface Happened {
  time: number;
  event: string;
  [fact: string]: unknown;
}

export interface Run extends RunFacts {
  recipe: string | null;
  card: string | null;
  data_card: string | null;
  results: { training: Record<string, unknown>; data: { ledger?: Record<string, unknown>[] } } | null;
  events: Happened[];
  pictures: string[];
  printed: string | null;
  commands: { stop?: string; run: string };
  loaded: boolean;
}

export interface ModelFacts {
  name: string;
  adapters: string[];
  task: string;
  writes: boolean;
  files: string[];
  chat: boolean;
  evidence: string[];
  input: Schema;
  output: Schema;
  known: { size?: number[] | null; crop?: number[] | null; channels?: number; names?: string[]; labels?: string[]; features?: number };
}

export interface Schema {
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: (string | number)[];
  anyOf?: Schema[];
  allOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  prefixItems?: Schema[];
  additionalProperties?: boolean | Schema;
  $ref?: string;
  $defs?: Record<string, Schema>;
  else?: Schema;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}
