/** Asking again and again, and asking once what was typed rests. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ask, type Failed } from "./api";

/** What `work` gives now and every `every` milliseconds, while the page is looked at; what went wrong last stays until it goes right. */
export function useAgain(work: () => Promise<void>, every: number, on: unknown[]): Failed | null {
  const [failed, setFailed] = useState<Failed | null>(null);
  useEffect(() => {
    let timer = 0;
    let gone = false;
    async function round() {
      try {
        if (!document.hidden) await work();
        if (!gone) setFailed(null);
      } catch (error) {
        if (!gone) setFailed(error as Failed);
      }
      if (!gone) timer = window.setTimeout(round, every);
    }
    round();
    return () => {
      gone = true;
      window.clearTimeout(timer);
    };
  }, [every, ...on]);
  return failed;
}

/** An answer that is asked for once. */
export function useOnce<T>(path: string): [T | null, Failed | null] {
  const [found, setFound] = useState<[T | null, Failed | null]>([null, null]);
  useEffect(() => {
    let gone = false;
    setFound([null, null]);
    ask<T>(path).then(
      (answer) => gone || setFound([answer, null]),
      (error) => gone || setFound([null, error]),
    );
    return () => {
      gone = true;
    };
  }, [path]);
  return found;
}

/** One of so many things that are pointed at, or gone along with the arrow keys; null while none is. */
export function usePointing(count: () => number) {
  const [at, setAt] = useState<number | null>(null);
  function move(event: KeyboardEvent) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || !count()) return;
    setAt(Math.max(0, Math.min(count() - 1, (at ?? -by) + by)));
    event.preventDefault();
  }
  return { at, setAt, move };
}

/** Calls `work` when `value` has not changed for so long; a call under way is told to stop. */
export function useRested(value: string, rest: number, work: (signal: AbortSignal) => Promise<void>): void {
  const last = useRef(work);
  last.current = work;
  useEffect(() => {
    const stop = new AbortController();
    const timer = window.setTimeout(() => last.current(stop.signal).catch(() => undefined), rest);
    return () => {
      window.clearTimeout(timer);
      stop.abort();
    };
  }, [value]);
}
