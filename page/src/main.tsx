/** The page's frame: which view is seen (the address after #), in which language and colours. */

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { ask, Failed, setKey } from "./api";
import { BuildView } from "./build";
import { CompareView } from "./compare";
import { PlayView } from "./play";
import { RunView } from "./run";
import { RunsView } from "./runs";
import { speak, t, type Tongue } from "./words";

type Theme = "auto" | "light" | "dark";

function kept<T extends string>(name: string, otherwise: T): [T, (value: T) => void] {
  const [value, setValue] = useState<T>((localStorage.getItem(name) as T | null) ?? otherwise);
  return [
    value,
    (next) => {
      localStorage.setItem(name, next);
      setValue(next);
    },
  ];
}

function useHash(): string[] {
  const read = () => window.location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  const [parts, setParts] = useState(read);
  useEffect(() => {
    const changed = () => setParts(read());
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return parts;
}

function KeyWanted({ given }: { given: () => void }) {
  const [key, set] = useState("");
  return (
    <main class="narrow">
      <form
        class="panel"
        onSubmit={(event) => {
          event.preventDefault();
          setKey(key);
          given();
        }}
      >
        <p>{t("needsKey")}</p>
        <label class="labelled">
          <span>{t("key")}</span>
          <input type="password" value={key} autocomplete="off" onInput={(event) => set(event.currentTarget.value)} />
        </label>
        <button class="strong">{t("open")}</button>
      </form>
    </main>
  );
}

function App() {
  const [tongue, setTongue] = kept<Tongue>("ftheta-tongue", navigator.language.startsWith("zh") ? "zh" : "en");
  const [theme, setTheme] = kept<Theme>("ftheta-theme", "auto");
  const [system, setSystem] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  const [whole, setWhole] = useState<boolean | null>(null);
  const [locked, setLocked] = useState(false);
  const [turn, setTurn] = useState(0);
  const parts = useHash();
  speak(tongue);
  const shown = theme === "auto" ? (system ? "dark" : "light") : theme;
  document.documentElement.dataset.theme = shown;
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => setSystem(media.matches);
    const wanted = () => setLocked(true);
    media.addEventListener("change", changed);
    window.addEventListener("ftheta-key", wanted);
    return () => {
      media.removeEventListener("change", changed);
      window.removeEventListener("ftheta-key", wanted);
    };
  }, []);
  useEffect(() => {
    let timer = 0;
    const look = () =>
      ask("/ui/folder").then(
        () => setWhole(true),
        (error: Failed) => (error.status === 404 ? setWhole(false) : error.status === 0 && (timer = window.setTimeout(look, 2000))),
      );
    look();
    return () => window.clearTimeout(timer);
  }, [turn]);
  const place = parts[0] ?? (whole ? "runs" : "play");
  const links: [string, string, string[]][] = [
    ...(whole ? ([["#/runs", t("runs"), ["runs", "compare"]], ["#/build", t("builder"), ["build"]]] as [string, string, string[]][]) : []),
    ["#/play", t("playground"), ["play"]],
  ];
  useEffect(() => {
    document.title = ["ftheta", ...parts.slice(1)].join(" · ");
  }, [parts.join("/")]);
  return (
    <>
      <nav class="top">
        <a class="mark" href="#/">
          f<span>θ</span>
        </a>
        {links.map(([address, title, names]) => (
          <a href={address} aria-current={names.includes(place) ? "page" : undefined}>
            {title}
          </a>
        ))}
        <span class="grow" />
        <select aria-label={t("theme")} value={theme} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
          {(["auto", "light", "dark"] as const).map((name) => (
            <option value={name}>{t(name)}</option>
          ))}
        </select>
        <button type="button" class="plain" lang={tongue === "zh" ? "en" : "zh-CN"} onClick={() => setTongue(tongue === "zh" ? "en" : "zh")}>
          {t("language")}
        </button>
      </nav>
      {locked ? (
        <KeyWanted
          given={() => {
            setLocked(false);
            setTurn(turn + 1);
          }}
        />
      ) : whole === null ? null : place === "runs" && whole && parts[1] ? (
        <RunView key={parts[1]} name={parts[1]} theme={shown} />
      ) : place === "compare" && whole && parts[2] ? (
        <CompareView names={parts.slice(1, 3)} theme={shown} />
      ) : place === "build" && whole ? (
        <BuildView />
      ) : place === "runs" && whole ? (
        <RunsView />
      ) : (
        <PlayView name={parts[1]} whole={whole} />
      )}
    </>
  );
}

render(<App />, document.getElementById("app")!);
