// Elements are made by hand and filled with text alone: what a seller writes never becomes markup.

export type Child = Node | string | false | undefined;

/** An element with attributes and children. */
export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  fill(element, ...children);
  return element;
}

/** An SVG element with attributes and children. */
export function svg(tag: string, attributes: Record<string, string | number> = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  fill(element, ...children);
  return element;
}

/** Replaces what an element has in it. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => child !== false && child !== undefined));
}

/** The element with this id, of this kind. */
export function byId<Kind extends Element>(id: string, kind: new () => Kind): Kind {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return element;
}

/** Rows of a description list. */
export function facts(rows: [name: string, value: Child, code?: "code"][]): HTMLElement[] {
  return rows
    .filter(([, value]) => value !== undefined && value !== false && value !== "")
    .map(([name, value, code]) => el("div", {}, el("dt", {}, name), el("dd", {}, code ? el("code", {}, value) : value)));
}
