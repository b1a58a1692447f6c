// What every entry of `farebox/gate` has.
export { createGate, memoryStore } from "./gate.js";
export type { Gate } from "./gate.js";
export { honoMiddleware } from "./hono.js";
export type { HonoOptions } from "./hono.js";
export { PolicyError } from "./types.js";
export type { Context, Facts, Fetcher, GateEvent, GateOptions, LogLine, Next, Store } from "./types.js";
