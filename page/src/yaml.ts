/** Plain data as YAML 1.2: mappings as blocks, what is short on one line. */

type Plain = unknown;

const PLAIN = /^[A-Za-z_./~][\w ./+-]*$/;
const TAKEN = /^(true|false|null|~|yes|no|on|off|\.inf|\.nan|[-+]?[\d.][\d_.eE+-]*)$/i;
const WIDTH = 100;

export function scalar(value: Plain): string {
  if (typeof value !== "string") return JSON.stringify(value ?? null);
  return PLAIN.test(value) && !TAKEN.test(value) && !value.endsWith(" ") ? value : JSON.stringify(value);
}

function flow(value: Plain): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (value && typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, item]) => `${scalar(name)}: ${flow(item)}`)
      .join(", ")}}`;
  return scalar(value);
}

function deep(value: Plain): boolean {
  return !!value && typeof value === "object" && Object.keys(value).length > 0;
}

function block(value: Record<string, Plain>, indent: string, nested: number): string {
  return Object.entries(value)
    .map(([name, item]) => {
      const line = `${indent}${scalar(name)}: ${flow(item)}`;
      const whole = !deep(item) || (line.length <= WIDTH && nested > 0);
      if (whole) return line;
      if (!Array.isArray(item)) return `${indent}${scalar(name)}:\n${block(item as Record<string, Plain>, `${indent}  `, nested + 1)}`;
      if (line.length <= WIDTH) return line;
      return `${indent}${scalar(name)}:\n${item.map((each) => `${indent}  - ${flow(each)}`).join("\n")}`;
    })
    .join("\n");
}

export function yaml(value: Record<string, Plain>): string {
  return `${block(value, "", 0)}\n`;
}
