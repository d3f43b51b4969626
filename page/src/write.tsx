/** Texts as they are written: every token with its probability and what else could have come. */

import { useEffect, useRef, useState } from "preact/hooks";
import { events, type Failed, type ModelFacts } from "./api";
import { TextEvidence, Wish } from "./evidence";
import { usePointing } from "./hooks";
import { share } from "./numbers";
import { Labelled, Trouble } from "./parts";
import { t, visible } from "./words";

export interface Token {
  text: string;
  score: number | null;
  others: [string, number][];
}

interface Piece {
  choices: {
    text?: string;
    delta?: { content?: string };
    logprobs: { tokens?: string[]; token_logprobs?: number[]; top_logprobs?: Record<string, number>[] | null; content?: { token: string; logprob: number; top_logprobs: { token: string; logprob: number }[] }[] } | null;
  }[];
}

const OTHERS = 5;

/** The tokens of a piece; one without alternatives where its text is not that of whole tokens (a character made of several). */
function tokens(piece: Piece): Token[] {
  const [choice] = piece.choices;
  const text = choice?.text ?? choice?.delta?.content ?? "";
  const said = choice?.logprobs;
  const found: Token[] = said?.content
    ? said.content.map((each) => ({ text: each.token, score: each.logprob, others: each.top_logprobs.map((other) => [other.token, other.logprob]) }))
    : (said?.tokens ?? []).map((token, i) => ({ text: token, score: said!.token_logprobs![i], others: Object.entries(said!.top_logprobs?.[i] ?? {}) }));
  if (found.map((token) => token.text).join("") === text) return found.filter((token) => token.text);
  if (!text) return [];
  const score = found.reduce((sum, token) => sum + (token.score ?? 0), 0);
  return [{ text, score: found.length ? score : null, others: found.length === 1 ? found[0].others : [] }];
}

/** Tokens one can point at, or go along with the arrow keys. */
export function Tokens({ found, shaded }: { found: Token[]; shaded: boolean }) {
  const { at, setAt, move } = usePointing(() => found.length);
  const token = at === null ? null : found[at];
  return (
    <>
      <span class={shaded ? "tokens shaded" : "tokens"} tabIndex={0} role="group" aria-label={t("hover")} onKeyDown={move} onMouseLeave={() => setAt(null)} onBlur={() => setAt(null)}>
        {found.map((each, i) => (
          <span class={i === at ? "token at" : "token"} style={shaded && each.score !== null ? { "--doubt": `${Math.round(100 * (1 - Math.exp(each.score)))}%` } : undefined} onMouseEnter={() => setAt(i)}>
            {each.text}
          </span>
        ))}
      </span>
      {token && token.score !== null && (
        <span class="peek" role="status">
          <strong>
            {visible(token.text)} · {share(Math.exp(token.score))}
          </strong>
          {token.others.map(([text, score]) => (
            <span>
              <i>{visible(text)}</i>
              <span class="bar">
                <span style={{ width: `${100 * Math.exp(score)}%` }} />
              </span>
              {share(Math.exp(score))}
            </span>
          ))}
        </span>
      )}
    </>
  );
}

interface Manner {
  most: number;
  temperature: number;
  top: number;
  seed: string;
}

function Manners({ manner, set }: { manner: Manner; set: (manner: Manner) => void }) {
  return (
    <div class="row tools manners">
      <Labelled title={t("tokens")}>
        <input type="number" min={1} max={4000} value={manner.most} onInput={(event) => set({ ...manner, most: Number(event.currentTarget.value) || 1 })} />
      </Labelled>
      <Labelled title={t("temperature")}>
        <input type="number" min={0} max={2} step={0.1} value={manner.temperature} onInput={(event) => set({ ...manner, temperature: Number(event.currentTarget.value) })} />
      </Labelled>
      <Labelled title={t("topP")}>
        <input type="number" min={0.05} max={1} step={0.05} value={manner.top} onInput={(event) => set({ ...manner, top: Number(event.currentTarget.value) || 1 })} />
      </Labelled>
      <Labelled title={t("seed")}>
        <input type="number" value={manner.seed} onInput={(event) => set({ ...manner, seed: event.currentTarget.value })} />
      </Labelled>
    </div>
  );
}

const MANNER: Manner = { most: 120, temperature: 0.8, top: 0.95, seed: "" };

/** Asks for a text and gives its tokens as they come. */
function useWriting() {
  const [failed, setFailed] = useState<Failed | null>(null);
  const [busy, setBusy] = useState<AbortController | null>(null);
  const current = useRef<AbortController | null>(null);
  useEffect(() => () => current.current?.abort(), []);
  async function write(path: string, body: object, manner: Manner, hear: (found: Token[]) => void): Promise<void> {
    const stop = new AbortController();
    current.current = stop;
    setBusy(stop);
    setFailed(null);
    const fields = { max_tokens: manner.most, temperature: manner.temperature, top_p: manner.top, stream: true, ...(manner.seed ? { seed: Number(manner.seed) } : {}) };
    let all: Token[] = [];
    try {
      for await (const piece of events<Piece>(path, { ...body, ...fields }, stop.signal)) hear((all = [...all, ...tokens(piece)]));
    } catch (error) {
      if (!stop.signal.aborted) setFailed(error as Failed);
    }
    setBusy(null);
  }
  return { write, failed, busy: busy !== null, halt: () => busy?.abort() };
}

/** Begins, and while a text is being written ends it. */
function Send({ title, ready, busy, halt }: { title: string; ready: boolean; busy: boolean; halt: () => void }) {
  if (busy)
    return (
      <button type="button" onClick={halt}>
        {t("halt")}
      </button>
    );
  return (
    <button class="strong" disabled={!ready}>
      {title}
    </button>
  );
}

function Shading({ shaded, set }: { shaded: boolean; set: (shaded: boolean) => void }) {
  return (
    <label>
      <input type="checkbox" checked={shaded} onChange={(event) => set(event.currentTarget.checked)} /> {t("shade")}
    </label>
  );
}

export function Completion({ model }: { model: ModelFacts }) {
  const [prompt, setPrompt] = useState("");
  const [asked, setAsked] = useState("");
  const [found, setFound] = useState<Token[]>([]);
  const [manner, setManner] = useState(MANNER);
  const [shaded, setShaded] = useState(true);
  const [looking, setLooking] = useState(false);
  const { write, failed, busy, halt } = useWriting();
  function go() {
    setAsked(prompt);
    setFound([]);
    write("/v1/completions", { model: model.name, prompt, logprobs: OTHERS }, manner, setFound);
  }
  return (
    <form
      class="panel"
      onSubmit={(event) => {
        event.preventDefault();
        go();
      }}
    >
      <Labelled title={t("prompt")}>
        <textarea rows={4} value={prompt} onInput={(event) => setPrompt(event.currentTarget.value)} onKeyDown={(event) => event.key === "Enter" && event.ctrlKey && prompt && go()} />
      </Labelled>
      <Manners manner={manner} set={setManner} />
      <div class="row">
        <Send title={t("write")} ready={!!prompt} busy={busy} halt={halt} />
        <Shading shaded={shaded} set={setShaded} />
        {model.evidence.length > 0 && <Wish open={looking} set={setLooking} />}
      </div>
      <Trouble failed={failed} />
      {(found.length > 0 || busy) && (
        <>
          <div class="written" aria-busy={busy}>
            <span class="muted">{asked}</span>
            <Tokens found={found} shaded={shaded} />
          </div>
          <p class="about">{t("hover")}</p>
          {!busy && looking && <TextEvidence model={model} about={{ text: asked + found.map((token) => token.text).join("") }} />}
        </>
      )}
    </form>
  );
}

interface Turn {
  role: "user" | "assistant";
  content: string;
  found?: Token[];
}

export function Chat({ model }: { model: ModelFacts }) {
  const [turns, setTurns] = useState<Turn[]>([]);
  const [message, setMessage] = useState("");
  const [manner, setManner] = useState(MANNER);
  const [shaded, setShaded] = useState(false);
  const [looking, setLooking] = useState(false);
  const { write, failed, busy, halt } = useWriting();
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => end.current?.scrollIntoView({ block: "nearest" }), [turns]);
  function say() {
    const said: Turn[] = [...turns, { role: "user", content: message }];
    setMessage("");
    setTurns(said);
    const messages = said.map(({ role, content }) => ({ role, content }));
    write("/v1/chat/completions", { model: model.name, messages, logprobs: true, top_logprobs: OTHERS }, manner, (found) =>
      setTurns([...said, { role: "assistant", content: found.map((token) => token.text).join(""), found }]),
    );
  }
  return (
    <form
      class="panel"
      onSubmit={(event) => {
        event.preventDefault();
        if (message && !busy) say();
      }}
    >
      <div class="talk" aria-live="polite" aria-busy={busy}>
        {turns.map((turn) => (
          <div class={`turn ${turn.role}`}>{turn.found ? <Tokens found={turn.found} shaded={shaded} /> : turn.content}</div>
        ))}
        <div ref={end} />
      </div>
      {!busy && looking && turns.length > 0 && <TextEvidence model={model} about={{ messages: turns.map(({ role, content }) => ({ role, content })) }} />}
      <Trouble failed={failed} />
      <Labelled title={t("message")}>
        <textarea
          rows={2}
          value={message}
          onInput={(event) => setMessage(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            if (message && !busy) say();
          }}
        />
      </Labelled>
      <div class="row">
        <Send title={t("say")} ready={!!message} busy={busy} halt={halt} />
        <button type="button" class="plain" onClick={() => setTurns([])}>
          {t("clear")}
        </button>
        <Shading shaded={shaded} set={setShaded} />
        {model.evidence.length > 0 && <Wish open={looking} set={setLooking} />}
      </div>
      <Manners manner={manner} set={setManner} />
    </form>
  );
}
