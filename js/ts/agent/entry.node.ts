// `farebox/agent` in Node, Deno and Bun: the module is read from beside this file when the first agent is made.
import { readFileSync } from "node:fs";
import { compiled, type Loadable } from "../runtime.js";
import { provide } from "./instance.js";

provide(() => new WebAssembly.Module(readFileSync(new URL("../wasm/farebox_agent_bg.wasm", import.meta.url))));

/**
 * Loads the WebAssembly module, if it is to come from elsewhere; else there is nothing to do. Await it before the first agent
 * is made.
 *
 * @param source where it is, or the module itself; if absent, the file beside this one.
 */
export async function init(source?: Loadable): Promise<void> {
  if (source === undefined) return;
  const file = source instanceof URL && source.protocol === "file:";
  provide(await compiled(file ? readFileSync(source) : source));
}

export * from "./index.js";
