// `farebox/gate` for browsers and bundlers: the caller says when to load the module.
import { isProvided, provide } from "./instance.js";

/**
 * Loads the WebAssembly module; await it before the first gate is made.
 *
 * @param source where it is, or the module itself; if absent, the file beside this one, which bundlers know to ship.
 */
export async function init(source?: string | URL | Request | Response | BufferSource | WebAssembly.Module): Promise<void> {
  if (isProvided()) return;
  provide(await compiled(source ?? new URL("../wasm/farebox_gate_bg.wasm", import.meta.url)));
}

async function compiled(
  source: string | URL | Request | Response | BufferSource | WebAssembly.Module,
): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  const response = source instanceof Response ? source : await fetch(source);
  if (!response.ok) throw new Error(`farebox: ${response.url}: ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer());
}

export * from "./index.js";
