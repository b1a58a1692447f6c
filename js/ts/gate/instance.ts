// The WebAssembly instance: one for the whole process, made when it is first needed, and made anew if it ever traps.
import * as bindings from "../wasm/farebox_gate.js";

export type Bindings = typeof bindings;

/** Whatever is under way in the instance and must hear of its end. */
interface Mortal {
  died(): void;
}

let wasm: WebAssembly.Module | (() => WebAssembly.Module) | undefined;
let made = false;
let alive = false;
let life = 0;
const living = new Set<Mortal>();

/** Says where the module comes from; entries of the package do, before anything else runs. */
export function provide(source: WebAssembly.Module | (() => WebAssembly.Module)): void {
  wasm ??= source;
}

/** Whether the module is there. */
export function isProvided(): boolean {
  return wasm !== undefined;
}

/** The instance. */
export function instance(): Bindings {
  if (!alive) {
    if (wasm === undefined) {
      throw new Error("farebox: await init() first; on this platform WebAssembly must be loaded by the caller");
    }
    if (made) {
      bindings.__wbg_reset_state();
    } else {
      bindings.initSync({ module: typeof wasm === "function" ? wasm() : wasm });
      made = true;
    }
    alive = true;
  }
  return bindings;
}

/** Changes whenever the instance is made anew: what was made in an earlier life means nothing in this one. */
export function currentLife(): number {
  return life;
}

/** Registers what must hear if the instance dies. */
export function watch(mortal: Mortal): void {
  living.add(mortal);
}

/** The opposite of {@link watch}. */
export function unwatch(mortal: Mortal): void {
  living.delete(mortal);
}

/** Calls into the instance. A trap there is the end of it and of everything under way in it. */
export function enter<T>(call: (wasm: Bindings) => T): T {
  const wasm = instance();
  const before = life;
  try {
    return call(wasm);
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError && before === life) {
      alive = false;
      life += 1;
      const all = [...living];
      living.clear();
      for (const mortal of all) mortal.died();
    }
    throw error;
  }
}

/** Settles a promise that the instance waits for, unless that was in an earlier life. */
export function settle(inLife: number, id: number, good: boolean, value: unknown): void {
  if (inLife !== life || !alive) return;
  try {
    enter((wasm) => wasm.settle(id, good, value));
  } catch {
    // Whoever waited has heard of it.
  }
}
