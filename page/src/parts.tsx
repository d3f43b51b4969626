/** Small parts that every view uses. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { send, type Failed, type State } from "./api";
import { t } from "./words";

export function Trouble({ failed }: { failed: Failed | null }) {
  if (!failed) return null;
  return (
    <p class="trouble" role="alert">
      {failed.status === 0 ? t("unreachable") : failed.message}
    </p>
  );
}

export function Badge({ state }: { state: State }) {
  return <span class={`badge ${state}`}>{t(state)}</span>;
}

export function Bar({ share, label }: { share: number; label: string }) {
  return (
    <span class="bar" role="meter" aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(100 * share)} aria-label={label}>
      <span style={{ width: `${100 * Math.max(0, Math.min(1, share))}%` }} />
    </span>
  );
}

/** What the buttons beside it would be on the command line. */
export function Command({ text, title }: { text: string; title?: string }) {
  const [copied, setCopied] = useState(false);
  async function copy() {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    window.setTimeout(() => setCopied(false), 1500);
  }
  return (
    <div class="command">
      {title && <span class="muted">{title}</span>}
      <code title={t("equal")}>{text}</code>
      <button type="button" class="plain" onClick={copy}>
        {copied ? t("copied") : t("copy")}
      </button>
    </div>
  );
}

/** Sections of which one is seen; arrow keys move between their names. */
export function Tabs({ names, chosen, choose }: { names: [string, string][]; chosen: string; choose: (name: string) => void }) {
  function move(event: KeyboardEvent) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const next = names[(names.findIndex(([name]) => name === chosen) + by + names.length) % names.length][0];
    choose(next);
    document.getElementById(`tab-${next}`)?.focus();
    event.preventDefault();
  }
  return (
    <div class="tabs" role="tablist" onKeyDown={move}>
      {names.map(([name, title]) => (
        <button type="button" role="tab" id={`tab-${name}`} aria-selected={name === chosen} tabIndex={name === chosen ? 0 : -1} onClick={() => choose(name)}>
          {title}
        </button>
      ))}
    </div>
  );
}

/** A picture behind the server's guard: asked for like everything else, so that a key goes with it. */
export function Picture({ address, title }: { address: string; title: string }) {
  const [place, setPlace] = useState<string | null>(null);
  useEffect(() => {
    let made: string | null = null;
    let gone = false;
    send(address)
      .then((answer) => answer.blob())
      .then((blob) => {
        if (!gone) setPlace((made = URL.createObjectURL(blob)));
      })
      .catch(() => undefined);
    return () => {
      gone = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [address]);
  return place ? <img src={place} alt={title} /> : <span class="muted">{title}</span>;
}

export function Labelled({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <label class="labelled">
      <span>{title}</span>
      {children}
    </label>
  );
}
