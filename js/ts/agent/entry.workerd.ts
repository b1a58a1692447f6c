// `farebox/agent` in worker runtimes that import WebAssembly as a module.
import { waitUntil } from "cloudflare:workers";
import { runOn } from "./agent.js";
import { provide } from "./instance.js";
import wasm from "../wasm/farebox_agent_bg.wasm";

provide(wasm);
runOn({ waitUntil });

/** Nothing to do here: the module was imported. */
export async function init(): Promise<void> {}

export * from "./index.js";
