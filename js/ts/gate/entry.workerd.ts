// `farebox/gate` in worker runtimes that import WebAssembly as a module.
import { waitUntil } from "cloudflare:workers";
import { runOn } from "./gate.js";
import { provide } from "./instance.js";
import wasm from "../wasm/farebox_gate_bg.wasm";

provide(wasm);
runOn({ waitUntil, source: (request) => request.headers.get("cf-connecting-ip") ?? undefined });

/** Nothing to do here: the module was imported. */
export async function init(): Promise<void> {}

export * from "./index.js";
