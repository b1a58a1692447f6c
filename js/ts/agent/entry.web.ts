// `farebox/agent` for browsers and bundlers: the caller says when to load the module.
import { compiled, type Loadable } from "../runtime.js";
import { isProvided, provide } from "./instance.js";

/**
 * Loads the WebAssembly module; await it before the first agent is made.
 *
 * @param source where it is, or the module itself; if absent, the file beside this one, which bundlers know to ship.
 */
export async function init(source?: Loadable): Promise<void> {
  if (isProvided()) return;
  provide(await compiled(source ?? new URL("../wasm/farebox_agent_bg.wasm", import.meta.url)));
}

export * from "./index.js";
