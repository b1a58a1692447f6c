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
declare module "node:fs/promises" {
  interface Handle {
    sync(): Promise<void>;
    close(): Promise<void>;
  }
  export function link(from: string, to: string): Promise<void>;
  export function mkdir(path: string, options: { recursive: boolean; mode: number }): Promise<unknown>;
  export function open(path: string, flags: string): Promise<Handle>;
  export function readdir(path: string): Promise<string[]>;
  export function readFile(path: string): Promise<Uint8Array<ArrayBuffer>>;
  export function readFile(path: string, encoding: "utf8"): Promise<string>;
  export function stat(path: string): Promise<{ mtimeMs: number }>;
  export function unlink(path: string): Promise<void>;
  export function writeFile(path: string, data: string | Uint8Array, options: object): Promise<void>;
}
declare module "node:os" {
  export function hostname(): string;
}
declare module "node:path" {
  export function join(...parts: string[]): string;
}
declare module "node:process" {
  export const pid: number;
  export function kill(pid: number, signal: number): void;
}
