import type { Gate } from "./gate.js";
import type { Context } from "./types.js";

/** As much of Hono's context as is needed. */
interface HonoContext {
  req: { raw: Request };
  res: Response;
  readonly executionCtx?: unknown;
}

/**
 * The gate as Hono middleware: `app.use(honoMiddleware(gate))`. What it refuses never reaches the handlers; what it lets
 * through, they see as the gate has judged it.
 */
export function honoMiddleware(gate: Gate) {
  return async (c: HonoContext, next: () => Promise<void>): Promise<void> => {
    const response = await gate.fetch(
      c.req.raw,
      async (request) => {
        c.req.raw = request;
        await next();
        return c.res;
      },
      contextOf(c),
    );
    // Hono merges the fields of a response that is there into the one that replaces it.
    (c as { res: Response | undefined }).res = undefined;
    c.res = response;
  };
}

/** Hono throws if there is none. */
function contextOf(c: HonoContext): Context | undefined {
  try {
    return c.executionCtx as Context | undefined;
  } catch {
    return undefined;
  }
}
