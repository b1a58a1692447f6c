// What only some runtimes have.
declare module "cloudflare:workers" {
  export function waitUntil(promise: Promise<unknown>): void;
}
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
declare module "node:fs" {
  export function readFileSync(path: URL): Uint8Array<ArrayBuffer>;
}
