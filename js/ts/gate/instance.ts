// The gate's WebAssembly instance.
import * as bindings from "../wasm/farebox_gate.js";
import { Runtime } from "../runtime.js";

export type Bindings = typeof bindings;

const runtime = new Runtime<Bindings>(bindings);

export const provide = runtime.provide.bind(runtime);
export const isProvided = runtime.isProvided.bind(runtime);
export const currentLife = runtime.currentLife.bind(runtime);
export const watch = runtime.watch.bind(runtime);
export const unwatch = runtime.unwatch.bind(runtime);
export const settle = runtime.settle.bind(runtime);

/** Calls into the instance; see {@link Runtime.enter}. */
export function enter<T>(call: (wasm: Bindings) => T): T {
  return runtime.enter(call);
}
