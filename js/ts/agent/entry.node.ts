// `farebox/agent` in Node, Deno and Bun: the module is read from beside this file when the first agent is made.
import { readFileSync } from "node:fs";
import { provide } from "./instance.js";

provide(() => new WebAssembly.Module(readFileSync(new URL("../wasm/farebox_agent_bg.wasm", import.meta.url))));

/** Nothing to do here: the module is read when it is needed. */
export async function init(): Promise<void> {}

export * from "./index.js";
