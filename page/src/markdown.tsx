/** The Markdown that cards are written in: headings, paragraphs, lists, tables, code, pictures, links, bold. Everything becomes text nodes: nothing is taken as HTML. */

import type { ComponentChildren, JSX } from "preact";

type Picture = (address: string, title: string) => JSX.Element;

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|!\[[^\]]*\]\([^)]+\)|\[[^\]]+\]\([^)]+\))/;

export function inline(text: string, picture: Picture = (_, title) => <span>{title}</span>): ComponentChildren[] {
  return text.split(INLINE).map((part) => {
    if (part.startsWith("`") && part.length > 1) return <code>{part.slice(1, -1)}</code>;
    if (part.startsWith("**") && part.length > 4) return <strong>{part.slice(2, -2)}</strong>;
    const link = /^(!?)\[([^\]]*)\]\(([^)]+)\)$/.exec(part);
    if (!link) return part;
    if (link[1]) return picture(link[3], link[2]);
    return /^https?:\/\//.test(link[3]) ? (
      <a href={link[3]} target="_blank" rel="noreferrer">
        {link[2]}
      </a>
    ) : (
      <span>{link[2]}</span>
    );
  });
}

const cells = (line: string): string[] =>
  line
    .trim()
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));

export function Markdown({ text, picture }: { text: string; picture: Picture }) {
  const lines = text.split("\n");
  const found: JSX.Element[] = [];
  let i = 0;
  while (i < lines.length) {
    const line = lines[i];
    const fence = /^(`{3,})/.exec(line);
    const heading = /^(#{1,6}) (.*)$/.exec(line);
    if (!line.trim()) {
      i++;
    } else if (fence) {
      const end = lines.findIndex((other, at) => at > i && other.startsWith(fence[1]));
      const stop = end < 0 ? lines.length : end;
      found.push(<pre>{lines.slice(i + 1, stop).join("\n")}</pre>);
      i = stop + 1;
    } else if (heading) {
      const Tag = `h${Math.min(6, heading[1].length + 1)}` as "h2";
      found.push(<Tag>{inline(heading[2], picture)}</Tag>);
      i++;
    } else if (line.trim().startsWith("|")) {
      const rows: string[][] = [];
      while (i < lines.length && lines[i].trim().startsWith("|")) rows.push(cells(lines[i++]));
      const ruled = rows.length > 1 && rows[1].every((cell) => /^:?-+:?$/.test(cell));
      const body = ruled ? rows.slice(2) : rows;
      found.push(
        <div class="scroll">
          <table>
            {ruled && (
              <thead>
                <tr>
                  {rows[0].map((cell) => (
                    <th>{inline(cell, picture)}</th>
                  ))}
                </tr>
              </thead>
            )}
            <tbody>
              {body.map((row) => (
                <tr>
                  {row.map((cell) => (
                    <td>{inline(cell, picture)}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>,
      );
    } else if (/^\s*[-*] /.test(line)) {
      const items: string[] = [];
      while (i < lines.length && /^\s*([-*] |\S)/.test(lines[i]) && lines[i].trim()) {
        if (/^\s*[-*] /.test(lines[i])) items.push(lines[i].replace(/^\s*[-*] /, ""));
        else items[items.length - 1] += ` ${lines[i].trim()}`;
        i++;
      }
      found.push(
        <ul>
          {items.map((item) => (
            <li>{inline(item, picture)}</li>
          ))}
        </ul>,
      );
    } else {
      const part: string[] = [];
      while (i < lines.length && lines[i].trim() && !/^(#{1,6} |`{3,}|\s*\||\s*[-*] )/.test(lines[i])) part.push(lines[i++]);
      if (!part.length) part.push(lines[i++]);
      found.push(<p>{inline(part.join(" "), picture)}</p>);
    }
  }
  return <article class="prose">{found}</article>;
}
