// The budget as a picture: a bar that shrinks as it is spent, with a piece for every payment, hatched while it is reserved.
import { dollars } from "../money";
import { el, fill, svg, type Child } from "./element";

/** One payment's piece of the budget. */
export interface Piece {
  title: string;
  amount: bigint;
  reserved: boolean;
}

/** The budget as it stands. */
export interface Standing {
  max: bigint;
  used: bigint;
  pieces: Piece[];
}

const WIDTH = 600;
const HEIGHT = 64;

/** A picture of the budget in `place`. It stays one element, so that it can move from one state to the next. */
export class BudgetPicture {
  readonly #left = el("p", { class: "left" });
  readonly #free = svg("rect", { class: "free", height: HEIGHT });
  readonly #pieces = svg("g");
  readonly #bar: SVGElement;
  readonly #legend = el("ul", { class: "legend" });
  #drawn = "";

  constructor(place: Element) {
    const stripe = { width: 10, height: 10, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
    const ground = svg("rect", { class: "hatch-ground", width: 10, height: 10 });
    const line = svg("rect", { class: "hatch-line", width: 5, height: 10 });
    const hatch = svg("defs", {}, svg("pattern", { id: "hatch", ...stripe }, ground, line));
    const box = { class: "bar", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" };
    this.#bar = svg("svg", box, hatch, this.#free, this.#pieces);
    fill(place, this.#left, this.#bar, this.#legend);
    this.draw(undefined);
  }

  /** Draws the budget; without one, what stands there before there is one. */
  draw(standing: Standing | undefined): void {
    if (standing === undefined) return this.#show("No budget yet", 0, [], ["No budget yet"], []);
    const { max, used } = standing;
    const reserved = standing.pieces.reduce((sum, piece) => (piece.reserved ? sum + piece.amount : sum), 0n);
    const spent = used > reserved ? used - reserved : 0n;
    const left = max > used ? max - used : 0n;
    const words = [`${dollars(spent)} spent`, `${dollars(reserved)} reserved`, `${dollars(left)} left`] as const;
    const scale = (amount: bigint) => (max === 0n ? 0 : (Number((amount * 100_000n) / max) / 100_000) * WIDTH);
    // What is left shrinks from the right: the first payment took the right end.
    let end = WIDTH;
    const drawn = counted(standing.pieces, used).map((piece) => {
      const width = Math.min(scale(piece.amount), end);
      end -= width;
      const gap = width > 4 ? 2 : 0;
      const title = `${piece.title}: ${dollars(piece.amount)}${piece.reserved ? ", reserved" : ""}`;
      const kind = piece.reserved ? "piece reserved" : "piece spent";
      const rect = { class: kind, x: end + gap, width: Math.max(width - gap, 1), height: HEIGHT };
      return svg("rect", rect, svg("title", {}, title));
    });
    this.#show(
      `${words.join(", ")} of ${dollars(max)}`,
      max > used ? end : 0,
      drawn,
      [el("strong", {}, dollars(left)), ` left of ${dollars(max)}`],
      [key("spent", words[0]), key("reserved", words[1]), key("free", words[2])],
    );
  }

  #show(text: string, free: number, pieces: SVGElement[], left: Child[], legend: Child[]): void {
    const drawn = text + pieces.map((piece) => piece.textContent).join();
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#bar.setAttribute("aria-label", text);
    this.#free.style.width = `${free}px`;
    fill(this.#pieces, ...pieces);
    fill(this.#left, ...left);
    fill(this.#legend, ...legend);
  }
}

/** The pieces that this page knows of, and before them what was spent before it was opened. */
function counted(pieces: Piece[], used: bigint): Piece[] {
  const known = pieces.reduce((sum, piece) => sum + piece.amount, 0n);
  return used > known ? [{ title: "Before", amount: used - known, reserved: false }, ...pieces] : pieces;
}

function key(kind: string, text: string): Child {
  return el("li", { class: kind }, el("span", { class: "swatch", "aria-hidden": "true" }), text);
}
